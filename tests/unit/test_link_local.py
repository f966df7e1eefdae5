"""Link-local addresses are listed in the order that they had, whenever the kernel makes its own."""

import pytest

from amdcni.core.aspects.sysctls import SetSysctl, for_the_while
from amdcni.core.capture import Captured, Details, capture
from amdcni.core.host import Address, Netdev
from amdcni.core.names import IfName, MacAddress
from amdcni.core.spec import Verb
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper

A = "0000:01:00.0"
BY_HAND = ("fe80::1/64", "fe80::2/64")
OWN = "fe80::ff:fe00:2/64"


def listed(link: Link) -> list[str]:
    return [str(own.address.interface) for own in link.addresses]


@pytest.mark.parametrize(("ready_at_boot", "place"), [(0, 2), (2, 1), (3, 0)])
@pytest.mark.parametrize("mover", ["delegate", "native"])
def test_after_del_the_order_is_as_before_whenever_the_link_is_ready(
    mover: str, ready_at_boot: int, place: int
) -> None:
    """The kernel makes its own address when the link is ready: before, between or after ours."""
    for requests in range(40):
        machine = Machine(mover=mover)
        (link,) = machine.kernel.plug(A, "ens1").links
        link.requests_until_ready = ready_at_boot
        machine.kernel.configure(link, tuple(map(address, BY_HAND)))
        machine.kernel.moment("the link is ready")
        before = listed(link)
        assert before.index(OWN) == place
        keeper = Keeper(machine, link)
        machine.kernel.make_netns("/run/netns/pod1")
        ask(machine, Verb.ADD, config_for(A))
        link.requests_until_ready = requests
        ask(machine, Verb.DEL, config_for(A))
        for _ in range(requests):
            machine.kernel.moment("time passes")
        assert listed(link) == before
        assert keeper.is_whole()
        assert machine.kernel.violations == []


@pytest.mark.parametrize("mode", [{}, {"ipv6/conf/addr_gen_mode": "3"}])
@pytest.mark.parametrize("mover", ["delegate", "native"])
def test_a_secret_that_was_set_before_the_mode_of_generation_does_not_change_it(
    mover: str, mode: dict[str, int | str]
) -> None:
    """Setting the secret sets the mode to 2, which somebody had set back."""
    machine = Machine(mover=mover)
    (link,) = machine.kernel.plug(A, "ens1").links
    machine.kernel.configure(link, ())
    link.sysctls = {"ipv6/conf/stable_secret": "::5", **mode}
    keeper = Keeper(machine, link)
    before = listed(link)
    machine.kernel.make_netns("/run/netns/pod1")
    ask(machine, Verb.ADD, config_for(A))
    ask(machine, Verb.DEL, config_for(A))
    assert (listed(link), keeper.is_whole()) == (before, True)


def own_among(*others: str) -> Captured:
    """What is kept of a netdev with the kernel's own link-local address and others."""
    own = Address(address(OWN).interface, scope=253, proto=3)
    netdev = Netdev(
        7,
        IfName("ens1"),
        mac=MacAddress("02:00:00:00:00:02"),
        addresses=(*map(address, others), own),
    )
    sysctls = {"ipv6/conf/addr_gen_mode": "0", "ipv6/conf/accept_dad": "1"}
    details = Details(sysctls=sysctls, sysctl_defaults=sysctls)
    return capture(netdev, details, protocols_reported=True)


DOWN, UP = (Netdev(7, IfName("ens1"), up=up) for up in (False, True))


def values_of(changes: list[SetSysctl]) -> dict[str, int | str]:
    return {change.name: change.value for change in changes}


def test_the_kernel_makes_no_address_while_its_own_is_set_among_others() -> None:
    kept = own_among("fe80::1/64")
    assert kept.sysctls["ipv6/conf/addr_gen_mode"] == "0"
    for_both = {"ipv6/conf/accept_dad": "0"}
    assert values_of(for_the_while(kept, DOWN)) == {**for_both, "ipv6/conf/addr_gen_mode": "1"}
    assert values_of(for_the_while(kept, UP)) == for_both


def test_alone_the_kernels_address_is_left_to_the_kernel() -> None:
    kept = own_among("fd00::1/64")
    assert "ipv6/conf/addr_gen_mode" not in kept.sysctls
    assert values_of(for_the_while(kept, DOWN)) == {"ipv6/conf/accept_dad": "0"}
