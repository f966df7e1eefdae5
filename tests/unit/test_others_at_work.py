"""udev, a network manager or a routing daemon may make changes at any moment of a call."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import attrs
import pytest

from amdcni.core.errors import RestoreIncomplete
from amdcni.core.host import Route
from amdcni.core.spec import Verb
from amdcni.effects.steps import homecoming
from tests.unit.copies import copies_of
from tests.unit.fake_machine import TRAFFIC, Machine
from tests.unit.fake_netdevs import Configuration, Link, Refused
from tests.unit.fake_runtime import ask
from tests.unit.four_nics import REFUSED, is_in_pod, new_node


@attrs.define(eq=False)
class Others:
    """udev, a network manager, a routing daemon: at one moment they set all they know of a NIC.

    They set exactly what it had on the host, wherever it is then, and ignore what is refused.
    With `daemon_only` they set only its routes.
    """

    machine: Machine
    link: Link
    at: int = 0
    daemon_only: bool = False
    acted: bool = False
    known: Configuration = attrs.field(init=False)
    routes: list[Route] = attrs.field(init=False)
    altnames: set[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        kernel = self.machine.kernel
        self.known = kernel.configuration_of(self.link)
        self.routes, self.altnames = kernel.routes_through(self.link), set(self.link.altnames)

    def act(self, _: str) -> None:
        self.at -= 1
        if self.at >= 0 or self.acted:
            return
        self.acted = True
        for each in self.actions():
            with suppress(Refused):
                each()

    def actions(self) -> Iterator[Callable[[], None]]:
        kernel, link = self.machine.kernel, self.link
        if link.space is kernel.host and not self.daemon_only:
            yield partial(kernel.rename, link, self.known.ifname)
            for altname in sorted(self.altnames):
                yield partial(kernel.add_altname, link, altname)
            yield partial(kernel.set_up, link, self.known.up)
            for address, _, _ in self.known.addresses:
                yield partial(kernel.add_address, link, address)
            for neighbour in self.known.neighbours:
                yield partial(kernel.add_neighbour, link, neighbour)
            for item in TRAFFIC if self.known.traffic else ():
                yield partial(kernel.set_traffic, link, item)
        for route in self.routes:
            hops = tuple(attrs.evolve(hop, ifindex=link.ifindex) for hop in route.hops)
            yield partial(kernel.add_route, link.space, attrs.evolve(route, hops=hops))


@pytest.mark.parametrize(
    ("mover", "daemon_only"),
    [
        pytest.param("delegate", False, id="delegate-all"),
        pytest.param("delegate", True, id="delegate-daemon", marks=pytest.mark.thorough),
        # What a daemon does is among what all do.
        pytest.param("native", False, id="native-all", marks=pytest.mark.thorough),
        pytest.param("native", True, id="native-daemon"),
    ],
)
@pytest.mark.parametrize("verb", [Verb.ADD, Verb.DEL])
def test_others_may_set_the_nics_configuration_at_any_moment_of_a_call(
    verb: Verb, mover: str, daemon_only: bool
) -> None:
    node = new_node(mover, None)
    node[1].order_matters, node[2]["copyRoutes"] = False, True
    everything = Others(node[0], node[1].link, daemon_only=daemon_only)
    if verb is Verb.DEL:
        ask(node[0], Verb.ADD, node[2])
    node_again = copies_of((*node, everything))
    acted, at = True, 0
    while acted:
        machine, keeper, config, others = node_again()
        others.at = at
        machine.kernel.interrupts.append(others.act)
        ask(machine, verb, config)
        machine.kernel.interrupts.remove(others.act)
        acted, at = others.acted, at + 1
        where = f"they set it before: {machine.kernel.moments[-1]}"
        if verb is Verb.ADD:
            assert is_in_pod(machine, keeper, 1, None), where
            ask(machine, Verb.DEL, config)
        assert keeper.is_whole(), where
        assert (machine.disk.files, machine.disk.markers) == ({}, set()), where
        assert machine.kernel.violations == [], where
    assert at > 20


@pytest.mark.parametrize("stranger", [False, True], ids=["up", "taken"])
def test_the_name_may_be_taken_or_the_nic_set_up_at_any_moment_of_its_return(
    stranger: bool,
) -> None:
    """The pod has died, and the NIC is on the host under its name from the pod."""
    node, watching, configuration = new_node("native", None)
    watching.order_matters = False
    ask(node, Verb.ADD, configuration)
    node.kernel.destroy_netns(node.kernel.paths["/run/netns/pod1"])
    node_again = copies_of((node, watching, configuration))
    acted, at = True, 0
    while acted:
        machine, keeper, config = node_again()
        kernel, link = machine.kernel, keeper.link
        others = Others(machine, link, at)
        name = keeper.original.ifname

        def act(_: str, others: Others = others, name: str = name) -> None:
            host = others.machine.kernel.host
            others.at -= 1
            if others.at < 0 and not others.acted:
                others.acted = True
                if not stranger:
                    others.machine.kernel.set_up(others.link, True)
                elif name not in host.names:
                    others.machine.kernel.add_link(name, "dummy")

        kernel.interrupts.append(act)
        ask(machine, Verb.DEL, config)
        kernel.interrupts.remove(act)
        acted, at = others.acted, at + 1
        where = f"at moment {at}"
        assert keeper.is_whole(), where
        assert (machine.disk.files, machine.disk.markers) == ({}, set()), where
        assert kernel.violations == [], where
    assert at > 20


def flush_addresses(machine: Machine, link: Link) -> None:
    link.addresses.clear()
    machine.kernel.host.lose_routes(link.ifindex)


def hear_routers(machine: Machine, link: Link) -> None:
    link.sysctls.pop("ipv6/conf/accept_ra", None)


def set_down(machine: Machine, link: Link) -> None:
    link.up = False
    machine.kernel.host.lose_routes(link.ifindex)


def refuse_ipv6(machine: Machine, link: Link) -> None:
    """All that is missing then is refused."""
    link.addresses = [own for own in link.addresses if own.address.family == 4]
    machine.kernel.host.refused |= IPV6


IPV6 = {"fd00::1/64", "fd00::2/64", "fe80::1/64"}
WORKS = {
    "flushes it": flush_addresses,
    "hears routers": hear_routers,
    "sets it down": set_down,
    "refuses IPv6": refuse_ipv6,
}


@pytest.mark.parametrize("mover", ["delegate", "native"])
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_a_manager_that_works_on_the_nic_for_a_second_does_not_fail_its_return(
    mover: str, work: Callable[[Machine, Link], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins once the NIC is on the host, and undoes all that is set until it has finished."""
    monkeypatch.setattr(homecoming, "_SETTLE_POLL_S", 0)
    machine, keeper, config = new_node(mover, None)
    kernel, link = machine.kernel, keeper.link
    keeper.order_matters = False
    ask(machine, Verb.ADD, config)
    pauses = 0

    def manage(what: str) -> None:
        nonlocal pauses
        pauses += what == "pause"
        if link.space is kernel.host and pauses < 5:
            work(machine, link)
        else:
            kernel.host.refused -= IPV6

    kernel.interrupts.append(manage)
    ask(machine, Verb.DEL, config)
    assert keeper.is_whole()
    assert machine.disk.files == {}
    assert pauses == 5


def test_what_is_refused_although_nobody_is_at_work_stays_recorded_and_is_named() -> None:
    machine, keeper, config = new_node("native", None)
    ask(machine, Verb.ADD, config)
    machine.kernel.host.refused.add(REFUSED)
    keeper.order_matters = False
    with pytest.raises(RestoreIncomplete, match=f"{REFUSED} is missing.*Cannot assign"):
        ask(machine, Verb.DEL, config)
    assert keeper.is_recorded()
    machine.kernel.host.refused.clear()
    ask(machine, Verb.DEL, config)
    assert keeper.is_whole()


def test_an_endless_fight_is_given_up_and_the_record_stays() -> None:
    machine, keeper, config = new_node("native", None)
    ask(machine, Verb.ADD, config)
    fight = partial(flush_addresses, machine, keeper.link)
    machine.kernel.interrupts.append(
        lambda _: fight() if keeper.link.space is machine.kernel.host else None
    )
    with pytest.raises(RestoreIncomplete, match="is missing"):
        ask(machine, Verb.DEL, config)
    machine.kernel.interrupts.clear()
    assert keeper.is_recorded()
    ask(machine, Verb.DEL, config)
    assert keeper.is_whole()
