"""Whatever happens in whatever order: nothing that was on the host before an ADD is lost.

A state machine plays a node with NICs, pods, runtimes, strangers, full disks and crashes.  It keeps
its own account of what every NIC was like and who holds it; records are read as plain JSON.
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from hypothesis.strategies import SearchStrategy

from amdcni.core.errors import (
    AmdcniError,
    CheckFailed,
    DeviceHeld,
    DeviceProtected,
    IfnameTaken,
    InvalidEnvironment,
    PluginFailed,
    RestoreIncomplete,
    StateFailure,
    UnknownAttachment,
)
from amdcni.core.host import Address
from amdcni.core.spec import Verb
from tests.unit.fake_kernel import RIDERS, Link, Space
from tests.unit.fake_node import HOST_LOCAL, Keeper, Killed, Machine, ask, config_for, furnish
from tests.unit.fake_plugins import Trouble

A, B, C = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"
NICS = (A, B, C)
PATHS = ("/run/netns/a", "/run/netns/b", "/run/netns/c")
REFUSED = "192.0.2.9/24"

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
}
"""What the node's boot configures: name, addresses, up, alias."""


def booted(machine: Machine, device: str) -> Link:
    """The NIC, freshly configured by the node's boot."""
    name, addresses, up, alias = BOOT[device]
    if device in machine.kernel.functions:
        (link,) = machine.kernel.functions[device].links
        link.name = name
    else:
        (link,) = machine.kernel.plug(device, name, virtio=device == B).links
    machine.kernel.configure(link, addresses, up=up, alias=alias)
    furnish(machine, link)
    return link


# ---- every moment of one call ------------------------------------------------------------------


def standing(mover: str, ipam: object) -> tuple[Machine, Keeper, dict[str, object]]:
    machine = Machine(mover=mover)
    keeper = Keeper(machine, booted(machine, A))
    for number in (1, 2):
        machine.kernel.make_netns(f"/run/netns/pod{number}")
    return machine, keeper, config_for(A, **({"ipam": ipam} if ipam else {}))


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


@pytest.mark.parametrize("mover", ["delegate", "native"])
@pytest.mark.parametrize("ipam", [None, HOST_LOCAL], ids=["static", "host-local"])
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
    verb: Verb, then: Callable[[Machine, dict[str, object]], None], ipam: object, mover: str
) -> None:
    killed, at = True, 0
    while killed:
        machine, keeper, config = standing(mover, ipam)
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
        phase = machine.disk.records().get(A, {}).get("phase")
        if phase == "attached" and then is add_elsewhere:
            # The first ADD has succeeded, but for its answer: its pod keeps the NIC.
            with pytest.raises(DeviceHeld):
                then(machine, config)
            assert is_in_pod(machine, keeper, 1, ipam), where
            continue
        then(machine, config)
        if then is add_again:
            assert is_in_pod(machine, keeper, 1, ipam), where
        elif then is add_elsewhere:
            assert is_in_pod(machine, keeper, 2, ipam), where
        elif phase == "attached" and then is delete_something_else:
            assert is_in_pod(machine, keeper, 1, ipam), where
        else:
            assert keeper.is_whole(), where
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
    st.sampled_from(["fails", "dies"]),
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
        self.spaces: dict[str, Space] = {}
        self.strangers: list[Link] = []
        self.held: dict[Id, str] = {}
        self.begun: dict[Id, str] = {}
        self.paths: dict[str, str] = {}
        self.abandoned: set[Id] = set()
        """Whose leases an ADD could not release for the NIC's former holder: it does not wait."""
        for path in PATHS[:2]:
            self.a_pod_starts(path)

    # ---- the account

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
            (record["id"]["containerID"], record["id"]["ifname"]): (device, record["phase"])
            for device, record in self.machine.disk.records().items()
        }

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

    @rule(device=st.sampled_from(NICS))
    def a_stranger_takes_the_name(self, device: str) -> None:
        name = BOOT[device][0]
        if name not in self.machine.kernel.host.names:
            self.strangers.append(self.machine.kernel.add_link(name, kind="dummy"))

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
        if keeper.is_whole() and device not in self.machine.disk.files and text not in there:
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
        for device in NICS:
            booted(machine, device)
            self.keepers[device].remember()
        machine.kernel.watchers = watchers

    # ---- what runtimes ask for

    def call(
        self,
        verb: Verb,
        config: dict[str, object],
        who: tuple[str, str, str | None],
        kill_at: int | None,
        trouble: Trouble | None,
    ) -> AmdcniError | Killed | None:
        """Serve one call; how it failed, if it did.  Any other exception is a fault of ours."""
        container, ifname, netns = who
        machine = self.machine
        machine.plugins.troubles = [] if trouble is None else [trouble]
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
        note(f"{verb} {who}: done")
        if verb in (Verb.ADD, Verb.DEL) and self.in_order and trouble is None:
            phases = {phase for _, phase in self.records_by_id().values()}
            assert phases <= {"attached"}, "a call that succeeds leaves nothing unfinished"
            assert machine.disk.markers == set()
        return None

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
        if {**self.held, **self.begun}.get(who, device) != device:
            return  # A runtime does not use a name twice without a DEL.
        if self.spaces.get(container) is not self.machine.kernel.paths.get(path):
            return  # Nor does it name the netns of another pod.
        keeper, holder = self.keepers[device], self.holder_of(device)
        before, leases = self.records_by_id(), dict(self.machine.plugins.leases)
        was_home = keeper.is_whole()
        space = self.machine.kernel.paths.get(path)
        taken = space is not None and ifname in space.names
        config = config_for(device, **({"ipam": HOST_LOCAL} if leased else {}))
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
    @rule(pick=picks, device=devices, with_netns=st.booleans(), kill_at=kills)
    def delete(self, pick: int, device: str | None, with_netns: bool, kill_at: int | None) -> None:
        who = one_of({**self.held, **self.begun}, pick)
        self.try_to_delete(who, device, with_netns, kill_at, None)

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
    ) -> None:
        container, ifname = who
        path = self.paths[container]
        about = self.records_by_id().get(who)
        config = config_for(device)
        netns = path if with_netns else None
        failure = self.call(Verb.DEL, config, (container, ifname, netns), kill_at, trouble)
        if failure is None:
            self.is_gone(who, None if about is None else about[0])
        elif isinstance(failure, Killed):
            if who not in self.records_by_id():
                self.is_gone(who, None)
            if about is not None:
                self.is_interrupted(who, about[0])
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
        if device is not None and device not in self.machine.disk.files:
            assert self.keepers[device].is_whole()
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
            Verb.CHECK, config_for(device, prevResult=previous), (*who, path), None, None
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
            assert keeper.is_whole()
        assert machine.disk.files == {}
        assert machine.disk.markers == set()
        assert set(machine.plugins.leases) <= self.abandoned
        assert machine.kernel.violations == []


TestLifecycle = Lifecycle.TestCase
# One machine stands for many tests.
TestLifecycle.settings = settings(max_examples=2 * settings().max_examples, stateful_step_count=30)
