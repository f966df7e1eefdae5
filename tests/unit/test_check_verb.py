"""What a CHECK finds on a node, what it waits for, and what it tolerates."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from amdcni.core.codec import result_to_json
from amdcni.core.errors import CheckFailed, PluginFailed, UnknownAttachment
from amdcni.core.host import AddressFlag
from amdcni.core.spec import Result, Verb
from amdcni.core.versions import NEWEST
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_node import Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, A, add, by_delegate, calls, pod_of


def check(machine: Machine, result: Result, pod: int = 1, **keys: Any) -> None:
    config = config_for(A, prevResult=result_to_json(result, NEWEST), **keys)
    ask(machine, Verb.CHECK, config, container=f"pod{pod}", netns=f"/run/netns/pod{pod}")


def test_check_of_a_healthy_attachment_succeeds_and_changes_nothing(
    machine: Machine, keeper: Keeper
) -> None:
    result = add(machine)
    before = machine.picture()
    check(machine, result)
    assert machine.picture() == before
    assert (("host-device", "CHECK") in calls(machine)) == (machine.mover == "delegate")


@pytest.mark.parametrize(
    ("damage", "saying"),
    [
        (lambda kernel, nic: nic.addresses.pop(0), r"lacks 192\.0\.2\.1/31"),
        (lambda kernel, nic: kernel.set_up(nic, False), "is down"),
        (
            lambda kernel, nic: (kernel.set_up(nic, False), kernel.rename(nic, "eth0")),
            "'eth0', not 'net1'",
        ),
        (lambda kernel, nic: kernel.move(nic, kernel.host), "not in '/run/netns/pod1'"),
        (
            lambda kernel, nic: (
                kernel.destroy_netns(nic.space),
                kernel.make_netns("/run/netns/first come"),
                kernel.make_netns(POD1),
            ),
            "not the network namespace",
        ),
        (lambda kernel, nic: kernel.destroy_netns(nic.space), "not the network namespace"),
        (lambda kernel, nic: flag(nic, AddressFlag.DADFAILED), "fd00::1/64 is somebody else's"),
        (lambda kernel, nic: flag(nic, AddressFlag.TENTATIVE), "fd00::1/64 cannot be used"),
        (lambda kernel, nic: setattr(nic, "plugged_in", False), "no link"),
        (lambda kernel, nic: kernel.rdma.lose(nic.space), "net1 lacks its RDMA device roce-ens1"),
    ],
    ids=[
        *("address", "down", "renamed", "moved out", "another netns", "no netns"),
        *("duplicate", "endless detection", "no link", "no RDMA device"),
    ],
)
def test_check_finds_what_is_not_healthy(
    machine: Machine,
    kernel: Kernel,
    nic: Link,
    keeper: Keeper,
    damage: Callable[[Kernel, Link], object],
    saying: str,
) -> None:
    result = add(machine)
    damage(kernel, nic)
    with pytest.raises(CheckFailed, match=saying):
        check(machine, result)


def flag(nic: Link, flag: AddressFlag) -> None:
    """Give duplicate address detection of one of the addresses this state."""
    (own,) = [own for own in nic.addresses if str(own.address.interface) == "fd00::1/64"]
    own.address = attrs.evolve(own.address, flags=int(own.address.settable_flags | flag))


def test_check_and_a_repeated_add_wait_for_detection_and_the_link(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    """Detection ends, and the link comes up, some time after the netdev has been set up."""
    result = add(machine)
    for act in (lambda: check(machine, result), lambda: add(machine)):
        pauses: list[str] = []
        flag(nic, AddressFlag.TENTATIVE)
        nic.plugged_in = False

        def wait(what: str, pauses: list[str] = pauses) -> None:
            pauses += [what] * (what == "pause")
            nic.plugged_in = len(pauses) > 1
            if len(pauses) == 3:
                flag(nic, AddressFlag(0))

        machine.kernel.interrupts.append(wait)
        act()
        machine.kernel.interrupts.remove(wait)
        assert len(pauses) == 3
        assert nic.space is pod_of(machine)


def test_check_lists_every_difference_at_once(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper
) -> None:
    result = add(machine)
    kernel.set_up(nic, False)
    nic.addresses.clear()
    with pytest.raises(CheckFailed, match=r"down.*192\.0\.2\.1.*192\.0\.2\.9"):
        check(machine, result)


def test_check_tolerates_what_chained_plugins_change(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    result = add(machine)
    nic.mtu, nic.mac = 1400, "02:aa:00:00:00:01"
    machine.kernel.add_address(nic, address("10.1.1.1/24"))
    check(machine, result)


def test_check_of_an_interrupted_attachment_fails(machine: Machine, keeper: Keeper) -> None:
    result = add(machine)
    with pytest.raises(Killed):
        ask(machine, Verb.DEL, config_for(A), kill_at=5)
    with pytest.raises(CheckFailed, match="interrupted"):
        check(machine, result)


def test_check_of_an_unknown_attachment_fails_and_names_it(
    machine: Machine, keeper: Keeper
) -> None:
    result = add(machine)
    with pytest.raises(UnknownAttachment, match="pod2/net1"):
        check(machine, result, pod=2)


def test_a_failing_check_of_the_ipam_plugin_is_passed_on(machine: Machine, keeper: Keeper) -> None:
    result = add(machine, ipam=HOST_LOCAL)
    machine.plugins.leases.clear()
    with pytest.raises(PluginFailed, match="host-local"):
        check(machine, result, ipam=HOST_LOCAL)


@by_delegate
def test_check_of_a_device_without_a_netdev_calls_the_delegate(machine: Machine) -> None:
    machine.kernel.functions[A].driver = "vfio-pci"
    machine.kernel.remove_link(machine.kernel.functions[A].links.pop())
    result = add(machine)
    check(machine, result)
    assert calls(machine)[-1] == ("host-device", "CHECK")


def test_check_finds_a_reported_route_that_leads_through_the_nic_in_no_table(
    machine: Machine, kernel: Kernel, nic: Link
) -> None:
    result = add(machine, copyRoutes=True)
    assert result.routes != ()
    space = pod_of(machine)
    kept = list(kernel.routes(space))
    reported = {route.dst.network for route in result.routes}
    check(machine, result, copyRoutes=True)
    for route in kept:
        if route.destination in reported:
            space.routes.remove(route)
            space.routes.append(attrs.evolve(route, table=100))
    check(machine, result, copyRoutes=True)
    space.routes[:] = [route for route in space.routes if route.destination not in reported]
    for destination in reported:
        with pytest.raises(CheckFailed, match=f"net1 lacks the route to {destination}"):
            check(machine, result, copyRoutes=True)
    check(machine, attrs.evolve(result, routes=()), copyRoutes=True)
