"""A node over time: what happens to it, and an account of who holds what.

The account itself remembers how every NIC was configured and who holds it.  Records are read as
plain JSON.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import SearchStrategy

from amdcni.core.spec import Verb
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import RIDERS, Link, Space, address
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import ask, config_for
from tests.unit.four_nics import BOOT, NICS, REFUSED, TWIN, A, B, C, V, booted, nic_of
from tests.unit.keeper import Keeper

PATHS = ("/run/netns/a", "/run/netns/b", "/run/netns/c")
SIBLINGS = "198.18.0.1/24"
"""The address of any second netdev of a device."""
ATTACHED = ("attached",)

Id = tuple[str, str]
"""(container ID, ifname)"""

picks: SearchStrategy[int] = st.integers(0, 5)

K = TypeVar("K")


def one_of(things: Iterable[K], pick: int) -> K:
    """One of the things, by its position."""
    listed = list(things)
    return listed[pick % len(listed)]


class Account(RuleBasedStateMachine):
    """A node, an account of who holds what, and what always holds."""

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
        self.reset: set[Id] = set()
        """Those whose netdev was made anew on the host, and has not been seen in the pod since."""
        self.abandoned: set[Id] = set()
        """Former holders of a NIC whose leases the next ADD could not release; it does not wait."""
        self.unwithdrawn: set[str] = set()
        """The keys of records noted home when the disk was read-only, which keeps such a note."""

    def name_of(self, device: str) -> str | None:
        """The name that picks the netdev among those of its device; None if there is only one."""
        if device not in self.siblings:
            return None
        link = self.keepers[device].link
        made_anew = device in map(self.nic_given_to, self.reset)
        at_home = link.space is self.machine.kernel.host and not made_anew
        return link.name if at_home else BOOT[device][0]

    @property
    def in_order(self) -> bool:
        """Whether nothing outside the calls makes them fail."""
        disk = self.machine.disk
        return not (disk.full or disk.read_only or self.machine.kernel.host.refused)

    def is_alive(self, container: str) -> bool:
        return container in self.spaces

    def holder_of(self, device: str) -> Id | None:
        """The attachment whose living pod really has the NIC, or had it when that was reset."""
        space = self.keepers[device].link.space
        for (container, ifname), held in self.held.items():
            if held == device and self.spaces.get(container) is space:
                return container, ifname
        return next((who for who in self.awaiting() if self.nic_given_to(who) == device), None)

    def nic_given_to(self, who: Id) -> str:
        return {**self.begun, **self.held}[who]

    def awaiting(self) -> set[Id]:
        """The attachments that are to get their NIC again, which was reset, in a living pod."""
        records = self.records_by_id()
        # Another ADD for the same device ends the attachment of one that came home.
        self.reset &= records.keys()
        for who in list(self.reset):
            there = self.keepers[self.nic_given_to(who)].link.space is self.spaces.get(who[0])
            if there and records[who][1:] == ATTACHED:
                self.reset.discard(who)
        due = self.ids_of(lambda r: r["phase"] in ("attached", "attaching") and "result" in r)
        known = self.machine.kernel.has_cookies
        return {who for who in self.reset & due if known and who[0] in self.spaces}

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

    def earlier(self) -> set[Id]:
        """Attachments of an earlier boot: their leases are given up if the plugin fails."""
        boot_id = f"boot-{self.machine.kernel.boot}"
        return self.ids_of(lambda record: record["boot_id"] != boot_id)

    def with_ipam(self) -> set[Id]:
        """Attachments whose record names an IPAM plugin, which is still to release its lease."""
        return self.ids_of(lambda record: "ipam" in record)

    def ids_of(self, fits: Callable[[Any], bool]) -> set[Id]:
        """The attachments whose records, as JSON, fit."""
        records = self.machine.disk.records().values()
        return {(r["id"]["containerID"], r["id"]["ifname"]) for r in records if fits(r)}

    def note_interrupted(self, who: Id, device: str) -> None:
        """A call about `who` did not end well: it has the device only if the record says so."""
        self.begun[who] = device
        if self.records_by_id().get(who) == (device, "attached"):
            self.held[who] = device
        else:
            self.held.pop(who, None)

    def note_gone(self, who: Id, device: str | None) -> None:
        self.held.pop(who, None)
        self.begun.pop(who, None)
        self.reset.discard(who)
        assert who not in self.records_by_id()
        if device is not None and device not in self.recorded:
            keeper = self.keepers[device]
            assert keeper.is_whole() or not keeper.is_plugged
        if device is not None and who not in self.abandoned:
            assert who not in self.machine.plugins.leases

    # ---- what always holds

    @invariant()
    def nothing_is_lost(self) -> None:
        for keeper in self.keepers.values():
            keeper.watch()
        assert self.machine.kernel.violations == []

    @invariant()
    def no_other_netdev_is_touched(self) -> None:
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
    def every_record_has_an_attachment_that_was_begun_and_not_ended(self) -> None:
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
            untouched = (container, ifname) not in {*self.begun, *self.reset}
            if record == (device, "attached") and space is not None and untouched:
                assert link.space is space or self.keepers[device].is_whole()

    def noted_home(self) -> set[str]:
        """The keys of the records of this boot of which a note says that only plugins are left."""
        disk, boot_id = self.machine.disk, f"boot-{self.machine.kernel.boot}"
        records = disk.records()
        return {
            key
            for key, note in disk.attempts.items()
            if (note.split()[0].decode(), note.split()[3]) == (boot_id, b"home")
            and records.get(key, {}).get("boot_id") == boot_id
        }

    @invariant()
    def what_is_noted_home_is_home(self) -> None:
        noted = self.noted_home()
        self.unwithdrawn &= noted
        if self.machine.disk.read_only:
            self.unwithdrawn |= noted
        for key in noted - self.unwithdrawn:
            keeper = self.keepers[nic_of(key)]
            assert keeper.is_whole() or not keeper.is_plugged

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
        # A call that was killed may have left nothing but a marker, which any call removes.
        for container, ifname in [*self.held, *self.begun] or [("nobody", "net1")]:
            ask(machine, Verb.DEL, config_for(), container=container, ifname=ifname, netns=None)
        for keeper in self.keepers.values():
            assert keeper.is_whole() or not keeper.is_plugged
        assert machine.disk.files == {}
        assert machine.disk.markers == set()
        assert set(machine.plugins.leases) <= self.abandoned
        assert machine.kernel.violations == []


class Events(Account):
    """What happens to the node apart from calls."""

    @initialize(has_cookies=st.booleans(), exclusive=st.booleans())
    def pods_start(self, has_cookies: bool, exclusive: bool) -> None:
        self.machine.kernel.has_cookies = has_cookies
        self.machine.kernel.rdma.exclusive = exclusive
        for path in PATHS[:2]:
            self.a_pod_starts(path)

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
    def a_pod_changes_what_identifies_a_netdev(self, pick: int) -> None:
        container, ifname = one_of(self.held, pick)
        space = self.spaces.get(container)
        link = space.find(ifname) if space else None
        if link is not None and self.records_by_id().get((container, ifname), "")[1:] == ATTACHED:
            link.mac = "02:00:00:00:99:01"
            link.altnames.clear()

    @precondition(lambda self: self.machine.kernel.rdma.exclusive)
    @rule(pick=picks)
    def a_pod_renames_its_rdma_device(self, pick: int) -> None:
        hca = one_of(self.machine.kernel.rdma.hcas, pick)
        if hca.space is not self.machine.kernel.host:
            self.machine.kernel.rdma.rename(hca, f"mine{len(self.machine.kernel.moments)}")

    @precondition(lambda self: self.machine.kernel.rdma.exclusive)
    @rule(pick=picks)
    def somebody_brings_an_rdma_device_home(self, pick: int) -> None:
        hca = one_of(self.machine.kernel.rdma.hcas, pick)
        if hca.space is not self.machine.kernel.host:
            self.machine.kernel.rdma.move(hca, self.machine.kernel.host)

    @precondition(lambda self: self.held)
    @rule(pick=picks)
    def a_pod_changes_how_its_queues_are_served(self, pick: int) -> None:
        container, ifname = one_of(self.held, pick)
        space = self.spaces.get(container)
        link = space.find(ifname) if space else None
        if link is not None:
            link.queues |= {"gro_flush_timeout": "7", "rx-0/rps_cpus": "2", "tx-1/xps_cpus": "1"}
            link.gso_max_size, link.gro_ipv4_max_size = 20000, 10000

    @precondition(lambda self: self.held)
    @rule(pick=picks, rings=st.sampled_from([64, 256, 512]), features=st.integers(0, 15))
    def a_pod_changes_settings_of_the_driver(self, pick: int, rings: int, features: int) -> None:
        container, ifname = one_of(self.held, pick)
        space = self.spaces.get(container)
        link = space.find(ifname) if space else None
        if link is not None and self.records_by_id().get((container, ifname), "")[1:] == ATTACHED:
            link.ethtool["rings/rx"] = rings
            link.ethtool |= {"features/on": hex(features), "features/off": hex(15 - features)}

    @precondition(lambda self: self.held)
    @rule(pick=picks)
    def a_nic_is_reset(self, pick: int) -> None:
        who = one_of(self.held, pick)
        keeper = self.keepers[self.held[who]]
        ours = self.spaces.get(who[0]) is keeper.link.space and who in self.records_by_id()
        if keeper.link.function is not None and keeper.is_plugged and ours:
            self.machine.kernel.reset(keeper.link.function)
            self.reset.add(who)

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
    def the_vlan_is_created_again(self) -> None:
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
        there = keeper.given
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
    def what_rests_on_a_nic_is_removed(self, pick: int) -> None:
        self.machine.kernel.alight(one_of(self.machine.kernel.riders, pick))

    @precondition(lambda self: self.machine.disk.files)
    @rule()
    def the_node_reboots(self) -> None:
        machine = self.machine
        watchers, machine.kernel.watchers = machine.kernel.watchers, []
        machine.kernel.reboot()
        self.spaces.clear()
        self.reset.clear()
        self.strangers.clear()
        for device, link in self.siblings.items():
            machine.kernel.functions[device].links.remove(link)
            machine.kernel.remove_link(link)
        self.siblings.clear()
        for device, keeper in {**self.keepers, TWIN: self.twin}.items():
            keeper.link = booted(machine, device)
            keeper.remember()
        machine.kernel.watchers = watchers

    @rule(seconds=st.sampled_from([5, 60, 4000]))
    def time_passes_on_the_node(self, seconds: int) -> None:
        self.machine.kernel.now_s += seconds

    @rule()
    def the_ipam_plugin_hangs(self) -> None:
        self.stuck = [Trouble("host-local", Verb.DEL, how="hangs")]

    @precondition(lambda self: self.stuck)
    @rule()
    def the_ipam_plugin_works_again(self) -> None:
        self.stuck = []
