"""Whatever happens in whatever order: nothing that was on the host before an ADD is lost.

A state machine plays a node with NICs, pods, runtimes, strangers, full disks and crashes.  It keeps
its own account of what every NIC was like and who holds it; records are read as plain JSON.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import attrs
import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from hypothesis.strategies import SearchStrategy

from amdcni.core.errors import (
    AmdcniError,
    CheckFailed,
    DeviceHeld,
    DeviceNotFound,
    DeviceProtected,
    IfnameTaken,
    InvalidConfiguration,
    InvalidEnvironment,
    PluginFailed,
    RestoreIncomplete,
    StateFailure,
    UndecodableInput,
    UnknownAttachment,
    UnsupportedVersion,
)
from amdcni.core.host import Address, Route
from amdcni.core.spec import Verb
from amdcni.testing.strategies import edited_configurations
from amdcni.verbs import healing
from tests.unit.fake_kernel import Refused
from tests.unit.fake_machine import Machine, furnish
from tests.unit.fake_netdevs import RIDERS, Configuration, Link, Space
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper

A, B, C = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"
V, TWIN = "@vlan7", "@vlan8"
"""Two VLANs of one NIC: of one kind, with one hardware address, and on no bus."""
NICS = (A, B, C, V)
PATHS = ("/run/netns/a", "/run/netns/b", "/run/netns/c")
REFUSED = "192.0.2.9/24"
SIBLINGS = "198.18.0.1/24"
"""The address of whatever other netdev of a device."""
ATTACHED = ("attached",)

Id = tuple[str, str]
"""(container ID, ifname)"""


def address(text: str) -> Address:
    return Address(ipaddress.ip_interface(text))


BOOT: dict[str, tuple[str, tuple[Address, ...], bool, str]] = {
    A: (
        "ens1",
        tuple(map(address, ["192.0.2.1/31", REFUSED, "fd00::1/64", "fd00::2/64"])),
        True,
        "",
    ),
    B: ("ens2", (address("198.51.100.1/31"),), True, "to the fabric"),
    C: ("ens3", (address("203.0.113.1/24"),), False, ""),
    V: ("vlan7", (address("10.7.0.1/24"), address("fd07::1/64")), True, ""),
    TWIN: ("vlan8", (address("10.8.0.1/24"),), True, ""),
}
"""What the node's boot configures: name, addresses, up, alias."""


def booted(machine: Machine, device: str) -> Link:
    """The NIC, freshly configured by the node's boot."""
    name, addresses, up, alias = BOOT[device]
    if device in machine.kernel.functions:
        link = machine.kernel.functions[device].links[0]
        link.name = name
    elif device in (V, TWIN):
        link = machine.kernel.add_link(name, kind="vlan")
        link.mac = "02:00:00:00:00:77"
    else:
        (link,) = machine.kernel.plug(device, name, virtio=device == B).links
    machine.kernel.configure(link, addresses, up=up, alias=alias)
    furnish(machine, link)
    return link


# ---- every moment of one call ------------------------------------------------------------------


def config_of(device: str | None, name: str | None = None, **keys: object) -> dict[str, object]:
    """The configuration for a NIC, which may give the `name` of the netdev besides its device."""
    if device is None:
        return config_for(**keys)
    if device in (V, TWIN):
        return config_for(device=name or BOOT[device][0], **keys)
    return config_for(device, **({} if name is None else {"device": name}), **keys)


def standing(
    mover: str, ipam: object, device: str = A
) -> tuple[Machine, Keeper, dict[str, object]]:
    machine = Machine(mover=mover)
    twin = Keeper(machine, booted(machine, TWIN))
    machine.kernel.watchers.append(lambda: stays_as_it_was(twin))
    keeper = Keeper(machine, booted(machine, device))
    for number in (1, 2):
        machine.kernel.make_netns(f"/run/netns/pod{number}")
    config = config_of(device)
    return machine, keeper, {**config, "ipam": ipam} if ipam else config


def nic_of(key: str) -> str:
    """The NIC of a record: its device, if it is on a bus, whichever of its netdevs is meant."""
    return key.partition("@")[0] or key


def stays_as_it_was(twin: Keeper) -> None:
    """What nobody lends is not touched, however much it looks like what is lent."""
    if not twin.is_whole():
        twin.machine.kernel.violations.append(f"{twin.original.ifname} was touched")


def is_in_pod(machine: Machine, keeper: Keeper, number: int, ipam: object) -> bool:
    """Whether the pod has what an ADD promises."""
    link, due = keeper.link, {str(a.interface) for a, _, _ in keeper.original.addresses}
    if ipam:
        due = {machine.plugins.leases.get((f"pod{number}", "net1"), "no lease")}
    given = {str(own.address.interface) for own in link.addresses if not own.by_kernel}
    where = machine.kernel.paths[f"/run/netns/pod{number}"]
    return (link.space, link.name, link.up, given) == (where, "net1", True, due)


def add_again(machine: Machine, config: dict[str, object]) -> None:
    assert ask(machine, Verb.ADD, config) is not None


def add_elsewhere(machine: Machine, config: dict[str, object]) -> None:
    ask(machine, Verb.ADD, config, container="pod2", netns="/run/netns/pod2")


def delete_it(machine: Machine, config: dict[str, object]) -> None:
    ask(machine, Verb.DEL, config)


def delete_it_blindly(machine: Machine, config: dict[str, object]) -> None:
    ask(machine, Verb.DEL, config_for(), netns=None)


def delete_after_the_death_of_the_netns(machine: Machine, config: dict[str, object]) -> None:
    machine.kernel.destroy_netns(machine.kernel.paths["/run/netns/pod1"])
    ask(machine, Verb.DEL, config)


def delete_something_else(machine: Machine, config: dict[str, object]) -> None:
    ask(machine, Verb.DEL, config_for(B), container="somebody", netns=None)


@pytest.mark.parametrize(
    ("device", "mover", "ipam"),
    [
        pytest.param(A, "delegate", None, id="delegate-static"),
        pytest.param(A, "delegate", HOST_LOCAL, id="delegate-host-local"),
        pytest.param(A, "native", None, id="native-static"),
        pytest.param(A, "native", HOST_LOCAL, id="native-host-local"),
        pytest.param(V, "native", None, id="software"),
    ],
)
@pytest.mark.parametrize(
    "then",
    [
        add_again,
        add_elsewhere,
        delete_it,
        delete_it_blindly,
        delete_after_the_death_of_the_netns,
        delete_something_else,
    ],
)
@pytest.mark.parametrize("verb", [Verb.ADD, Verb.DEL])
def test_a_call_that_was_killed_at_any_moment_is_made_good_by_the_next(
    device: str,
    verb: Verb,
    then: Callable[[Machine, dict[str, object]], None],
    ipam: object,
    mover: str,
) -> None:
    killed, at = True, 0
    while killed:
        machine, keeper, config = standing(mover, ipam, device)
        before = machine.picture()
        if verb is Verb.DEL:
            ask(machine, Verb.ADD, config)
        try:
            ask(machine, verb, config, kill_at=at)
            killed = False
        except Killed:
            pass
        at += 1
        where = f"killed before: {machine.kernel.moments[-1]}"
        phase = machine.disk.records().get(device, {}).get("phase")
        if phase == "attached" and then is add_elsewhere:
            # The first ADD has succeeded, but for its answer: its pod keeps the NIC.
            with pytest.raises(DeviceHeld):
                then(machine, config)
            assert is_in_pod(machine, keeper, 1, ipam), where
            continue
        then(machine, config)
        if then is delete_something_else:
            # That executes no plugin of this device.
            assert phase == "attached" or keeper.is_whole(), where
            ask(machine, Verb.STATUS, config_for(), netns=None)
        if then is add_again:
            assert is_in_pod(machine, keeper, 1, ipam), where
        elif then is add_elsewhere:
            assert is_in_pod(machine, keeper, 2, ipam), where
        elif phase == "attached" and then is delete_something_else:
            assert is_in_pod(machine, keeper, 1, ipam), where
        else:
            assert keeper.is_whole() or not keeper.is_plugged, where
            assert machine.disk.files == {}, where
            if then is not delete_after_the_death_of_the_netns:
                assert machine.picture() == before, where
        assert machine.disk.markers == set(), where
        holders = (
            {("pod2" if then is add_elsewhere else "pod1", "net1")} if machine.disk.files else set()
        )
        assert set(machine.plugins.leases) == (holders if ipam else set()), where
        assert machine.kernel.violations == [], where
    assert at > 20


# ---- others at work -----------------------------------------------------------------------------


@attrs.define(eq=False)
class Others:
    """udev, a network manager, a routing daemon: at one moment they set all they know of a NIC.

    They set the very things that it has had on the host, where it is then; what is refused they
    leave.  With `daemon_only` they set its routes, and nothing else.
    """

    machine: Machine
    link: Link
    at: int
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
        for each in self.deeds():
            with suppress(Refused):
                each()

    def deeds(self) -> Iterator[Callable[[], None]]:
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
            if self.known.qdisc is not None:
                yield partial(kernel.set_qdisc, link, self.known.qdisc)
        for route in self.routes:
            hops = tuple(attrs.evolve(hop, ifindex=link.ifindex) for hop in route.hops)
            yield partial(kernel.add_route, link.space, attrs.evolve(route, hops=hops))


@pytest.mark.parametrize("daemon_only", [False, True], ids=["all", "daemon"])
@pytest.mark.parametrize("mover", ["delegate", "native"])
@pytest.mark.parametrize("verb", [Verb.ADD, Verb.DEL])
def test_others_may_set_the_same_at_any_moment_of_a_call(
    verb: Verb, mover: str, daemon_only: bool
) -> None:
    acted, at = True, 0
    while acted:
        machine, keeper, config = standing(mover, None)
        config["copyRoutes"], keeper.order_matters = True, False
        others = Others(machine, keeper.link, at, daemon_only)
        if verb is Verb.DEL:
            ask(machine, Verb.ADD, config)
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
def test_a_name_may_be_taken_and_the_nic_set_up_at_any_moment_of_a_homecoming(
    stranger: bool,
) -> None:
    """The pod has died, and the NIC is on the host under the name that it had there."""
    acted, at = True, 0
    while acted:
        machine, keeper, config = standing("native", None)
        keeper.order_matters = False
        ask(machine, Verb.ADD, config)
        kernel, link = machine.kernel, keeper.link
        kernel.destroy_netns(kernel.paths["/run/netns/pod1"])
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


# ---- two calls at once ---------------------------------------------------------------------------


Deed = Callable[[Machine, dict[str, object]], object]


def add_by_pod1(machine: Machine, config: dict[str, object]) -> object:
    return ask(machine, Verb.ADD, config)


def add_by_pod2(machine: Machine, config: dict[str, object]) -> object:
    return ask(machine, Verb.ADD, config, container="pod2", netns="/run/netns/pod2")


def heal(machine: Machine, config: dict[str, object]) -> object:
    return ask(machine, Verb.STATUS, config_for(), netns=None)


def said_by(deed: Deed, machine: Machine, config: dict[str, object]) -> object:
    """The answer to a call, or the kind of its error."""
    try:
        return deed(machine, config)
    except AmdcniError as error:
        return type(error)


@attrs.define(eq=False)
class Interloper:
    """A call that is made whole while another one is at work, if it need not wait for that."""

    deed: Deed
    machine: Machine
    config: dict[str, object]
    at: int
    came: bool = False
    said: list[object] = attrs.field(factory=list)

    def act(self) -> None:
        self.at -= 1
        if self.at < 0 and not self.came:
            self.came = True
            if not self.machine.locks:
                self.said.append(said_by(self.deed, self.machine, self.config))


def state_of(machine: Machine, keeper: Keeper) -> object:
    """Who has the NIC, and what is on the disk."""
    pods = [number for number in (1, 2) if is_in_pod(machine, keeper, number, None)]
    return pods, keeper.is_whole(), sorted(machine.disk.files), machine.disk.markers


def in_turn(
    deeds: Sequence[Deed], machine: Machine, keeper: Keeper, config: dict[str, object]
) -> tuple[list[object], object]:
    return [said_by(deed, machine, config) for deed in deeds], state_of(machine, keeper)


@pytest.mark.parametrize(
    ("by", "mover"), [("device", "delegate"), ("hwaddr", "native"), ("name", "native")]
)
@pytest.mark.parametrize("is_lent", [False, True], ids=["at-home", "lent"])
@pytest.mark.parametrize("first", [add_by_pod1, delete_it])
@pytest.mark.parametrize("second", [add_by_pod1, add_by_pod2, delete_it_blindly, heal])
def test_two_calls_at_once_are_answered_as_if_one_came_after_the_other(
    first: Deed, second: Deed, is_lent: bool, by: str, mover: str
) -> None:
    def made() -> tuple[Machine, Keeper, dict[str, object]]:
        machine, keeper, config = standing(mover, None, V if by == "name" else A)
        if by == "hwaddr":
            del config["deviceID"], config["pciBusID"]
            config["hwaddr"] = keeper.link.mac
        if is_lent:
            ask(machine, Verb.ADD, config)
        return machine, keeper, config

    said, state = in_turn([first, second], *made())
    backwards, other_state = in_turn([second, first], *made())
    allowed = [(said, state), (backwards[::-1], other_state)]
    at = 0
    while True:
        machine, keeper, config = made()
        interloper = Interloper(second, machine, config, at)
        machine.looks.append(interloper.act)
        ours = said_by(first, machine, config)
        machine.looks.clear()
        at += 1
        if not interloper.came:
            break
        if interloper.said:
            assert ([ours, *interloper.said], state_of(machine, keeper)) in allowed, f"at look {at}"
            assert machine.kernel.violations == []
    assert at > 5


# ---- any order of events -----------------------------------------------------------------------


picks: SearchStrategy[int] = st.integers(0, 5)
ifnames: SearchStrategy[str] = st.sampled_from(["net1", "net2"])
devices: SearchStrategy[str | None] = st.none() | st.sampled_from(NICS)
kills: SearchStrategy[int | None] = st.none() | st.integers(0, 32)
troubles: SearchStrategy[Trouble | None] = st.none() | st.builds(
    Trouble,
    st.sampled_from(["host-device", "host-device", "static", "host-local"]),
    st.sampled_from([Verb.ADD, Verb.DEL]),
    st.integers(0, 12),
    st.sampled_from(["fails", "dies", "hangs"]),
)


K = TypeVar("K")


def one_of(things: Iterable[K], pick: int) -> K:
    """One of the things, by its place in line."""
    listed = list(things)
    return listed[pick % len(listed)]


class Lifecycle(RuleBasedStateMachine):
    """A node, what happens to it, and an account of who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.machine.plugins.pool = tuple(f"10.9.0.{n}/24" for n in range(2, 8))
        self.keepers = {
            device: Keeper(self.machine, booted(self.machine, device)) for device in NICS
        }
        self.twin = Keeper(self.machine, booted(self.machine, TWIN))
        self.siblings: dict[str, Link] = {}
        self.spaces: dict[str, Space] = {}
        self.strangers: list[Link] = []
        self.held: dict[Id, str] = {}
        self.begun: dict[Id, str] = {}
        self.paths: dict[str, str] = {}
        self.stuck: list[Trouble] = []
        self.abandoned: set[Id] = set()
        """Whose leases an ADD could not release for the NIC's former holder: it does not wait."""

    @initialize(tells_cookies=st.booleans())
    def pods_start(self, tells_cookies: bool) -> None:
        self.machine.kernel.tells_cookies = tells_cookies
        for path in PATHS[:2]:
            self.a_pod_starts(path)

    # ---- the account

    def name_of(self, device: str) -> str | None:
        """What tells the netdev from others of its device; None if that is not needed."""
        if device not in self.siblings:
            return None
        link = self.keepers[device].link
        return link.name if link.space is self.machine.kernel.host else BOOT[device][0]

    @property
    def in_order(self) -> bool:
        """Whether nothing outside of the calls stands in their way."""
        disk = self.machine.disk
        return not (disk.full or disk.read_only or self.machine.kernel.host.refused)

    def is_alive(self, container: str) -> bool:
        return container in self.spaces

    def holder_of(self, device: str) -> Id | None:
        """The attachment whose living pod really has the NIC."""
        space = self.keepers[device].link.space
        for (container, ifname), held in self.held.items():
            if held == device and self.spaces.get(container) is space:
                return container, ifname
        return None

    def records_by_id(self) -> dict[Id, tuple[str, str]]:
        """(device, phase) of every record on the disk."""
        return {
            (record["id"]["containerID"], record["id"]["ifname"]): (
                nic_of(key),
                record["phase"],
            )
            for key, record in self.machine.disk.records().items()
        }

    @property
    def recorded(self) -> set[str]:
        """The NICs of which there is a record."""
        return {device for device, _ in self.records_by_id().values()}

    # ---- what happens

    @rule(path=st.sampled_from(PATHS))
    def a_pod_starts(self, path: str) -> None:
        if path not in self.machine.kernel.paths:
            container = f"pod{len(self.paths) + 1}"
            self.paths[container] = path
            self.spaces[container] = self.machine.kernel.make_netns(path)

    @precondition(lambda self: len(self.spaces) > 1)
    @rule(pick=picks)
    def a_netns_dies(self, pick: int) -> None:
        self.machine.kernel.destroy_netns(self.spaces.pop(one_of(self.spaces, pick)))

    @precondition(lambda self: self.held)
    @rule(pick=picks)
    def a_pod_renames_its_netdev(self, pick: int) -> None:
        container, ifname = one_of(self.held, pick)
        space = self.spaces.get(container)
        link = space.find(ifname) if space else None
        if link is not None and space is not None and "own0" not in space.names:
            self.machine.kernel.set_up(link, False)
            self.machine.kernel.rename(link, "own0")

    @precondition(lambda self: self.held)
    @rule(pick=picks)
    def a_pod_changes_what_a_netdev_is_known_by(self, pick: int) -> None:
        container, ifname = one_of(self.held, pick)
        space = self.spaces.get(container)
        link = space.find(ifname) if space else None
        if link is not None and self.records_by_id().get((container, ifname), "")[1:] == ATTACHED:
            link.mac = "02:00:00:00:99:01"
            link.altnames.clear()

    @rule(device=st.sampled_from([A, B]))
    def another_netdev_of_the_device_appears(self, device: str) -> None:
        if device not in self.siblings:
            function = self.machine.kernel.functions[device]
            (ours,) = function.links
            link = self.machine.kernel.add_link(f"port{device[6]}")
            link.function, link.parent, link.kind = device, ours.parent, ours.kind
            link.mac = ours.mac
            function.links.append(link)
            self.machine.kernel.configure(link, (address(SIBLINGS),))
            self.siblings[device] = link

    @precondition(lambda self: self.siblings)
    @rule(pick=picks)
    def another_netdev_of_the_device_leaves(self, pick: int) -> None:
        device = one_of(self.siblings, pick)
        link = self.siblings.pop(device)
        self.machine.kernel.functions[device].links.remove(link)
        self.machine.kernel.remove_link(link)

    @rule()
    def the_vlan_is_made_anew(self) -> None:
        keeper = self.keepers[V]
        if not keeper.is_plugged:
            keeper.link = booted(self.machine, V)
            keeper.remember()

    @rule(device=st.sampled_from([A, B, C]), alike=st.booleans())
    def a_stranger_takes_the_name(self, device: str, alike: bool) -> None:
        name, ours = BOOT[device][0], self.keepers[device].link
        if name not in self.machine.kernel.host.names:
            link = self.machine.kernel.add_link(name, kind=ours.kind if alike else "dummy")
            link.mac = ours.mac
            self.strangers.append(link)

    @precondition(lambda self: self.strangers)
    @rule()
    def a_stranger_leaves(self) -> None:
        self.machine.kernel.remove_link(self.strangers.pop())

    @precondition(lambda self: self.in_order)
    @rule(what=st.sampled_from(["address refused", "disk full", "disk read-only"]))
    def something_goes_wrong(self, what: str) -> None:
        self.machine.disk.full = what == "disk full"
        self.machine.disk.read_only = what == "disk read-only"
        if what == "address refused":
            self.machine.kernel.host.refused = {REFUSED}
            self.keepers[A].order_matters = False

    @precondition(lambda self: not self.in_order)
    @rule()
    def all_is_well_again(self) -> None:
        self.machine.kernel.host.refused = set()
        self.machine.disk.full = self.machine.disk.read_only = False

    @rule(device=st.sampled_from(NICS), number=st.integers(1, 200))
    def an_administrator_adds_an_address(self, device: str, number: int) -> None:
        keeper = self.keepers[device]
        text = f"172.16.0.{number}/24"
        there = {str(a.interface) for a, _, _ in keeper.original.addresses}
        if keeper.is_whole() and device not in self.recorded and text not in there:
            link = keeper.link
            self.machine.kernel.watchers.remove(keeper.watch)
            self.machine.kernel.add_address(link, address(text))
            names = keeper.names
            keeper.remember()
            keeper.names |= names
            self.machine.kernel.watchers.append(keeper.watch)

    @rule(device=st.sampled_from(NICS), kind=st.sampled_from(RIDERS))
    def something_comes_to_rest_on_a_nic(self, device: str, kind: str) -> None:
        kernel, keeper = self.machine.kernel, self.keepers[device]
        enslaved = keeper.link.master is not None and kind in ("bond", "vrf")
        if keeper.is_whole() and device not in self.machine.disk.files and not enslaved:
            kernel.ride(kind, keeper.link)

    @precondition(lambda self: self.machine.kernel.riders)
    @rule(pick=picks)
    def it_is_removed(self, pick: int) -> None:
        self.machine.kernel.alight(one_of(self.machine.kernel.riders, pick))

    @precondition(lambda self: self.machine.disk.files)
    @rule()
    def the_node_reboots(self) -> None:
        machine = self.machine
        watchers, machine.kernel.watchers = machine.kernel.watchers, []
        machine.kernel.reboot()
        self.spaces.clear()
        self.strangers.clear()
        for device, link in self.siblings.items():
            machine.kernel.functions[device].links.remove(link)
            machine.kernel.remove_link(link)
        self.siblings.clear()
        for device, keeper in {**self.keepers, TWIN: self.twin}.items():
            keeper.link = booted(machine, device)
            keeper.remember()
        machine.kernel.watchers = watchers

    # ---- what runtimes ask for

    def call(
        self,
        verb: Verb,
        config: dict[str, object] | bytes,
        who: tuple[str, str, str | None],
        kill_at: int | None,
        trouble: Trouble | None,
    ) -> AmdcniError | Killed | None:
        """Serve one call; how it failed, if it did.  Any other exception is a fault of ours."""
        container, ifname, netns = who
        machine = self.machine
        machine.plugins.troubles = [*self.stuck, *([] if trouble is None else [trouble])]
        before = self.records_by_id()
        machine.plugins.executed.clear()
        try:
            ask(
                machine,
                verb,
                config,
                container=container,
                ifname=ifname,
                netns=netns,
                kill_at=kill_at,
            )
        except (AmdcniError, Killed) as failure:
            note(f"{verb} {who}: {failure!r} {getattr(failure, '__notes__', '')}")
            return failure
        finally:
            machine.plugins.troubles = []
            if verb in (Verb.ADD, Verb.DEL):
                self.no_plugin_was_executed_for_another_device(verb, config, who[:2], before)
        note(f"{verb} {who}: done")
        if verb in (Verb.ADD, Verb.DEL) and self.in_order and trouble in (None, *self.stuck):
            self.only_plugins_and_pauses_are_waited_for(who[:2])
        return None

    def earlier(self) -> set[Id]:
        """Whose records are of an earlier boot: their leases are given up if the plugin fails."""
        boot_id = f"boot-{self.machine.kernel.boot}"
        return {
            (record["id"]["containerID"], record["id"]["ifname"])
            for record in self.machine.disk.records().values()
            if record["boot_id"] != boot_id
        }

    def no_plugin_was_executed_for_another_device(
        self,
        verb: Verb,
        config: dict[str, object] | bytes,
        who: Id,
        before: dict[Id, tuple[str, str]],
    ) -> None:
        """An ADD may tell the plugins of those who had the very device before."""
        mine = {who}
        if verb is Verb.ADD and isinstance(config, dict):
            about = config.get("deviceID", f"@{config.get('device')}")
            mine |= {id for id, (device, _) in before.items() if device == about}
        executed = {(each.container_id, each.ifname) for each in self.machine.plugins.executed}
        assert executed <= mine

    def only_plugins_and_pauses_are_waited_for(self, who: Id) -> None:
        """A call that succeeds leaves its own device settled, and no netdev away without cause."""
        disk, clock = self.machine.disk, self.machine.kernel
        for key, record in disk.records().items():
            device, id = nic_of(key), (record["id"]["containerID"], record["id"]["ifname"])
            if record["phase"] != "attached":
                assert id != who
                noted = disk.attempts[key].decode().split()
                if noted[3] == "home" and record["boot_id"] == f"boot-{clock.boot}":
                    assert self.keepers[device].is_whole()
                    assert "ipam" in record
                elif noted[3] != "home":
                    assert clock.now_s < int(noted[2])
        records = disk.records().items()
        assert disk.markers == {key for key, each in records if each["phase"] != "attached"}

    @rule(seconds=st.sampled_from([5, 60, 4000]))
    def time_goes_by(self, seconds: int) -> None:
        self.machine.kernel.now_s += seconds

    @rule()
    def the_ipam_plugin_hangs(self) -> None:
        self.stuck = [Trouble("host-local", Verb.DEL, how="hangs")]

    @precondition(lambda self: self.stuck)
    @rule()
    def the_ipam_plugin_works_again(self) -> None:
        self.stuck = []

    @rule()
    def the_runtime_asks_for_the_status(self) -> None:
        begun_s = self.machine.kernel.now_s
        before = self.records_by_id()
        self.call(Verb.STATUS, config_for(), ("pod0", "net1", None), None, None)
        assert self.machine.kernel.now_s - begun_s < 30
        self.look_for_what_was_healed(before)

    @rule()
    def a_person_heals(self) -> None:
        before, node = self.records_by_id(), FakeNode(self.machine)
        self.machine.plugins.troubles = list(self.stuck)
        self.abandoned |= self.earlier() if self.stuck else set()
        with self.machine.running(node):
            healing.heal(node)
        self.machine.plugins.troubles = []
        if self.in_order and not self.stuck:
            assert {phase for _, phase in self.records_by_id().values()} <= {"attached"}
            assert self.machine.disk.markers == set()
        self.look_for_what_was_healed(before)

    def look_for_what_was_healed(self, before: dict[Id, tuple[str, str]]) -> None:
        after = self.records_by_id()
        for who, (device, _) in before.items():
            if who not in after:
                self.is_gone(who, device)
            else:
                self.is_interrupted(who, device)

    @precondition(lambda self: self.spaces)
    @rule(
        pick=picks,
        device=st.sampled_from(NICS),
        ifname=ifnames,
        leased=st.booleans(),
        kill_at=kills,
    )
    def add(self, pick: int, device: str, ifname: str, leased: bool, kill_at: int | None) -> None:
        self.try_to_add(one_of(self.spaces, pick), device, ifname, leased, kill_at, None)

    @precondition(lambda self: self.held)
    @rule(pick=picks, leased=st.booleans(), kill_at=kills)
    def add_again(self, pick: int, leased: bool, kill_at: int | None) -> None:
        container, ifname = one_of(self.held, pick)
        device = self.held[container, ifname]
        self.try_to_add(container, device, ifname, leased, kill_at, None)

    @rule(
        pick=picks,
        device=st.sampled_from(NICS),
        ifname=ifnames,
        leased=st.booleans(),
        kill_at=kills,
        trouble=troubles,
    )
    def add_in_trouble(
        self,
        pick: int,
        device: str,
        ifname: str,
        leased: bool,
        kill_at: int | None,
        trouble: Trouble | None,
    ) -> None:
        self.try_to_add(one_of(self.paths, pick), device, ifname, leased, kill_at, trouble)

    def try_to_add(
        self,
        container: str,
        device: str,
        ifname: str,
        leased: bool,
        kill_at: int | None,
        trouble: Trouble | None,
    ) -> None:
        path = self.paths[container]
        who = (container, ifname)
        trouble = trouble or next(iter(self.stuck), None)
        if {**self.held, **self.begun}.get(who, device) != device:
            return  # A runtime does not use a name twice without a DEL.
        if self.spaces.get(container) is not self.machine.kernel.paths.get(path):
            return  # Nor does it name the netns of another pod.
        keeper, holder = self.keepers[device], self.holder_of(device)
        before, leases = self.records_by_id(), dict(self.machine.plugins.leases)
        was_home = keeper.is_whole()
        space = self.machine.kernel.paths.get(path)
        taken = space is not None and ifname in space.names
        config = config_of(device, self.name_of(device))
        if leased:
            config["ipam"] = HOST_LOCAL
        failure = self.call(Verb.ADD, config, (container, ifname, path), kill_at, trouble)
        if trouble is not None:
            recorded = self.records_by_id()
            self.abandoned |= {id for id in self.machine.plugins.leases if id not in recorded}
        if failure is None:
            self.begun.pop(who, None)
            assert space is not None
            assert (keeper.link.space, keeper.link.name, keeper.link.up) == (space, ifname, True)
            self.held[who] = device
            self.has_what_was_promised(who, device, leased, holder == who)
        elif isinstance(failure, Killed):
            self.is_interrupted(who, device)
        else:
            after = self.records_by_id().get(who)
            if after != before.get(who) and after is not None:
                assert trouble is not None or not self.in_order
                self.is_interrupted(who, device)
            elif after is None:
                self.held.pop(who, None)
            if self.in_order and trouble is None:
                self.add_had_to_fail(
                    failure, space is None, taken, holder not in (None, who), leases
                )
                assert isinstance(failure, DeviceNotFound) <= (not keeper.is_plugged)
                assert keeper.is_whole() or not was_home

    def has_what_was_promised(self, who: Id, device: str, leased: bool, repeated: bool) -> None:
        keeper = self.keepers[device]
        given = {str(own.address.interface) for own in keeper.link.addresses if not own.by_kernel}
        addresses = {str(address.interface) for address, _, _ in keeper.original.addresses}
        if repeated:
            # The answer is that of the first, whatever IPAM the second asks for.
            assert given in ({self.machine.plugins.leases.get(who)}, addresses)
        elif leased:
            assert given == {self.machine.plugins.leases[who]}
        else:
            assert given == addresses

    def add_had_to_fail(
        self, failure: AmdcniError, dead: bool, taken: bool, held: bool, leases: dict[Id, str]
    ) -> None:
        match failure:
            case InvalidEnvironment():
                assert dead
            case IfnameTaken():
                assert taken
            case DeviceNotFound():
                pass
            case DeviceHeld():
                assert held
            case DeviceProtected():
                assert any(str(failure).startswith(f"{link.name} ") for link in self.ridden())
            case PluginFailed():
                exhausted = len(leases) == len(self.machine.plugins.pool)
                assert exhausted or set(leases) & self.abandoned
            case _:
                raise AssertionError(f"an ADD failed without need: {failure!r}")

    @precondition(lambda self: self.held or self.begun)
    @rule(
        pick=picks,
        device=devices,
        with_netns=st.booleans(),
        kill_at=kills,
        edited=st.none() | st.none() | edited_configurations,
    )
    def delete(
        self,
        pick: int,
        device: str | None,
        with_netns: bool,
        kill_at: int | None,
        edited: bytes | None,
    ) -> None:
        who = one_of({**self.held, **self.begun}, pick)
        self.try_to_delete(who, device, with_netns, kill_at, None, edited)

    @rule(
        pick=picks,
        ifname=ifnames,
        device=devices,
        with_netns=st.booleans(),
        kill_at=kills,
        trouble=troubles,
    )
    def delete_in_trouble(
        self,
        pick: int,
        ifname: str,
        device: str | None,
        with_netns: bool,
        kill_at: int | None,
        trouble: Trouble | None,
    ) -> None:
        who = (one_of(self.paths, pick), ifname)
        self.try_to_delete(who, device, with_netns, kill_at, trouble)

    def try_to_delete(
        self,
        who: Id,
        device: str | None,
        with_netns: bool,
        kill_at: int | None,
        trouble: Trouble | None,
        edited: bytes | None = None,
    ) -> None:
        container, ifname = who
        path = self.paths[container]
        about = self.records_by_id().get(who)
        trouble = trouble or next(iter(self.stuck), None)
        self.abandoned |= self.earlier() if trouble else set()
        config = config_of(device) if edited is None else edited
        netns = path if with_netns else None
        failure = self.call(Verb.DEL, config, (container, ifname, netns), kill_at, trouble)
        if failure is None:
            self.is_gone(who, None if about is None else about[0])
        elif isinstance(failure, Killed):
            if who not in self.records_by_id():
                self.is_gone(who, None)
            if about is not None:
                self.is_interrupted(who, about[0])
        elif about is None and edited is not None:
            assert isinstance(failure, (InvalidConfiguration, UndecodableInput, UnsupportedVersion))
        else:
            self.delete_had_to_fail(failure, trouble)
            if about is not None:
                self.is_interrupted(who, about[0])

    def is_interrupted(self, who: Id, device: str) -> None:
        """A call about `who` did not end well: it has the device only if the record says so."""
        self.begun[who] = device
        if self.records_by_id().get(who) == (device, "attached"):
            self.held[who] = device
        else:
            self.held.pop(who, None)

    def is_gone(self, who: Id, device: str | None) -> None:
        self.held.pop(who, None)
        self.begun.pop(who, None)
        assert who not in self.records_by_id()
        if device is not None and device not in self.recorded:
            keeper = self.keepers[device]
            assert keeper.is_whole() or not keeper.is_plugged
        if device is not None and who not in self.abandoned:
            assert who not in self.machine.plugins.leases

    def delete_had_to_fail(self, failure: AmdcniError, trouble: Trouble | None) -> None:
        match failure:
            case RestoreIncomplete():
                assert self.machine.kernel.host.refused
            case StateFailure():
                assert self.machine.disk.read_only or self.machine.disk.full
            case _:
                assert trouble is not None, f"a DEL failed without need: {failure!r}"

    @precondition(lambda self: self.held)
    @rule(pick=picks, ifname=ifnames)
    def check(self, pick: int, ifname: str) -> None:
        container, _ = one_of(self.held, pick)
        path = self.paths[container]
        who, device = (container, ifname), self.held.get((container, ifname), A)
        previous = {"cniVersion": "1.1.0", "interfaces": [], "ips": []}
        before = self.machine.picture()
        failure = self.call(
            Verb.CHECK, config_of(device, prevResult=previous), (*who, path), None, None
        )
        assert self.machine.picture() == before
        link = self.keepers[device].link
        record = self.records_by_id().get(who)
        healthy = (
            record == (device, "attached")
            and link.space is self.spaces.get(container)
            and link.name == ifname
            and link.up
        )
        if healthy:
            assert failure is None or isinstance(failure, PluginFailed)
        else:
            assert isinstance(failure, (CheckFailed, UnknownAttachment, AmdcniError))

    @precondition(lambda self: self.machine.disk.files)
    @rule(keep=st.sets(st.integers(0, 5)), kill_at=kills, trouble=troubles)
    def collect_garbage(self, keep: set[int], kill_at: int | None, trouble: Trouble | None) -> None:
        before = self.records_by_id()
        self.abandoned |= self.earlier() if trouble or self.stuck else set()
        living = {who for who, (device, _) in before.items() if self.holder_of(device) == who}
        kept = {who for n, who in enumerate(sorted(before)) if n in keep}
        valid = [{"containerID": container, "ifname": ifname} for container, ifname in sorted(kept)]
        config = config_for(**{"cni.dev/valid-attachments": valid})
        failure = self.call(Verb.GC, config, ("pod0", "net1", None), kill_at, trouble)
        after = self.records_by_id()
        for who in before:
            if who in kept and who in living:
                assert after[who] == before[who]
            elif failure is None and who not in kept:
                self.is_gone(who, before[who][0])
            elif who not in after:
                self.is_gone(who, None)
            else:
                self.is_interrupted(who, before[who][0])

    # ---- what always holds

    @invariant()
    def nothing_is_lost(self) -> None:
        for keeper in self.keepers.values():
            keeper.watch()
        assert self.machine.kernel.violations == []

    @invariant()
    def nobody_elses_netdev_is_touched(self) -> None:
        for stranger in self.strangers:
            assert stranger.addresses == []
            assert (stranger.alias, stranger.up) == ("", False)
        for device, sibling in self.siblings.items():
            given = [str(a.address.interface) for a in sibling.addresses if not a.by_kernel]
            assert (sibling.name, given) == (f"port{device[6]}", [SIBLINGS])
        assert self.twin.is_whole()

    def ridden(self) -> list[Link]:
        return [rider.on for rider in self.machine.kernel.riders]

    @invariant()
    def nothing_that_rests_on_a_nic_is_lost(self) -> None:
        assert [rider.kind for rider in self.machine.kernel.riders if rider.lost] == []

    @invariant()
    def every_record_is_of_an_attachment_that_was_begun_and_not_ended(self) -> None:
        for who, (device, _) in self.records_by_id().items():
            assert self.held.get(who, self.begun.get(who)) == device

    @invariant()
    def no_lease_is_left_without_a_record(self) -> None:
        assert set(self.machine.plugins.leases) <= {*self.held, *self.begun, *self.abandoned}

    @invariant()
    def a_netdev_stays_with_its_pod(self) -> None:
        for (container, ifname), device in self.held.items():
            record = self.records_by_id().get((container, ifname))
            link, space = self.keepers[device].link, self.spaces.get(container)
            untouched = (container, ifname) not in self.begun
            if record == (device, "attached") and space is not None and untouched:
                assert link.space is space or self.keepers[device].is_whole()

    @invariant()
    def no_lock_is_left(self) -> None:
        assert self.machine.locks == set()

    def teardown(self) -> None:
        """All troubles end, all pods go, every attachment is deleted: the host is whole."""
        machine = self.machine
        machine.plugins.troubles = []
        machine.kernel.host.refused = set()
        machine.disk.full = machine.disk.read_only = False
        for number, space in enumerate(self.spaces.values()):
            if number % 2:
                machine.kernel.destroy_netns(space)
        for container, ifname in [*self.held, *self.begun]:
            ask(machine, Verb.DEL, config_for(), container=container, ifname=ifname, netns=None)
        for keeper in self.keepers.values():
            assert keeper.is_whole() or not keeper.is_plugged
        assert machine.disk.files == {}
        assert machine.disk.markers == set()
        assert set(machine.plugins.leases) <= self.abandoned
        assert machine.kernel.violations == []


TestLifecycle = Lifecycle.TestCase
# One machine stands for many tests.
TestLifecycle.settings = settings(max_examples=2 * settings().max_examples, stateful_step_count=30)
