"""Whatever happens in whatever order: nothing that was on the host before an ADD is lost.

A state machine plays a node with NICs, pods, runtimes, strangers, full disks and crashes.
Here are the calls; `lifecycle` has the other events, the account, and what always holds.
"""

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
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
from amdcni.core.spec import Verb
from amdcni.testing.strategies import edited_configurations
from amdcni.verbs import healing
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.four_nics import NICS, A, config_of, nic_of
from tests.unit.lifecycle import Events, Id, one_of, picks

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

_BEFORE_THE_PLUGIN = 6
"""A moment of a DEL when it has noted that it has begun."""


class Lifecycle(Events):
    """The calls of runtimes and people, whatever happens to the node meanwhile."""

    def call(
        self,
        verb: Verb,
        config: dict[str, object] | bytes,
        who: tuple[str, str, str | None],
        kill_at: int | None,
        trouble: Trouble | None,
    ) -> AmdcniError | Killed | None:
        """Serve one call and return its failure, if any.  Other exceptions are faults of ours."""
        container, ifname, netns = who
        machine = self.machine
        machine.plugins.troubles = [*self.stuck, *([] if trouble is None else [trouble])]
        before, begun_s = self.records_by_id(), machine.kernel.now_s
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
                self.no_plugin_was_run_for_another_device(verb, config, who[:2], before)
        note(f"{verb} {who}: done")
        if verb in (Verb.ADD, Verb.DEL) and self.in_order and trouble in (None, *self.stuck):
            self.only_plugins_and_pauses_delay_work(who[:2], begun_s)
        return None

    def no_plugin_was_run_for_another_device(
        self,
        verb: Verb,
        config: dict[str, object] | bytes,
        who: Id,
        before: dict[Id, tuple[str, str]],
    ) -> None:
        """An ADD may call the plugins for those who had the same device before."""
        mine = {who}
        if verb is Verb.ADD and isinstance(config, dict):
            about = config.get("deviceID", f"@{config.get('device')}")
            mine |= {id for id, (device, _) in before.items() if device == about}
        executed = {(each.container_id, each.ifname) for each in self.machine.plugins.executed}
        assert executed <= mine

    def only_plugins_and_pauses_delay_work(self, who: Id, begun_s: int) -> None:
        """A call that succeeds leaves its own device settled, and no netdev away without cause.

        A pause may end while a plugin hangs in this very call.
        """
        disk, clock = self.machine.disk, self.machine.kernel
        for key, record in disk.records().items():
            device, id = nic_of(key), (record["id"]["containerID"], record["id"]["ifname"])
            if record["phase"] != "attached":
                assert id != who
                noted = disk.attempts[key].decode().split()
                if noted[3] == "home" and record["boot_id"] == f"boot-{clock.boot}":
                    keeper = self.keepers[device]
                    assert keeper.is_whole() or not keeper.is_plugged
                    assert "ipam" in record
                elif noted[3] != "home":
                    assert begun_s < int(noted[2])
        records = disk.records().items()
        assert disk.markers == {key for key, each in records if each["phase"] != "attached"}

    @rule()
    def the_runtime_calls_status(self) -> None:
        begun_s = self.machine.kernel.now_s
        before = self.records_by_id()
        self.call(Verb.STATUS, config_for(), ("pod0", "net1", None), None, None)
        assert self.machine.kernel.now_s - begun_s < 30
        self.note_what_was_healed(before)

    @rule(kill_at=kills)
    def an_operator_heals(self, kill_at: int | None) -> None:
        before, node = self.records_by_id(), FakeNode(self.machine, kill_at=kill_at)
        awaiting = self.awaiting()
        self.machine.plugins.troubles = list(self.stuck)
        self.abandoned |= self.earlier() if self.stuck else set()
        killed = False
        with self.machine.running(node):
            try:
                healing.heal(node)
            except Killed:
                killed = True
        self.machine.plugins.troubles = []
        if self.in_order and not self.stuck and not killed:
            assert {phase for _, phase in self.records_by_id().values()} <= {"attached"}
            assert self.machine.disk.markers == set()
            for who in awaiting:
                self.has_its_nic_again(who)
        self.note_what_was_healed(before)

    @precondition(lambda self: self.held)
    @rule(pick=picks, kill_at=kills)
    def a_nic_is_reset_and_attached_again(self, pick: int, kill_at: int | None) -> None:
        """As an agent does: by themselves the two rarely come one after the other."""
        self.a_nic_is_reset(pick)
        self.an_operator_heals(kill_at)

    @precondition(lambda self: self.spaces)
    @rule(pick=picks, device=st.sampled_from(NICS), kill_at=kills)
    def a_nic_that_waits_for_its_plugin_is_returned_again(
        self, pick: int, device: str, kill_at: int | None
    ) -> None:
        """By themselves the four calls rarely come one after the other."""
        who = (one_of(self.spaces, pick), "net1")
        self.try_to_add(who[0], device, who[1], True, None, None)
        if who in self.held:
            self.try_to_delete(who, None, True, _BEFORE_THE_PLUGIN, None)
        before = self.records_by_id()
        self.call(Verb.DEL, config_for(), ("nobody", "net1", None), None, None)
        self.note_what_was_healed(before)
        self.an_operator_heals(kill_at)

    def has_its_nic_again(self, who: Id) -> None:
        device, space = self.nic_given_to(who), self.spaces[who[0]]
        link = self.keepers[device].link
        assert (link.space, link.name, link.up) == (space, who[1], True)
        self.has_what_was_promised(who, device, leased=False, repeated=True)
        self.reset.discard(who)

    def note_what_was_healed(self, before: dict[Id, tuple[str, str]]) -> None:
        after = self.records_by_id()
        for who, (device, _) in before.items():
            if who not in after:
                self.note_gone(who, device)
            else:
                self.note_interrupted(who, device)

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
        asked = self.name_of(device)
        config = config_of(device, asked)
        if leased:
            config["ipam"] = HOST_LOCAL
        failure = self.call(Verb.ADD, config, (container, ifname, path), kill_at, trouble)
        if trouble is not None:
            # An ADD gives up the lease of an earlier one whose NIC it takes, its own too.
            self.abandoned |= set(self.machine.plugins.leases) - self.with_ipam()
        if failure is None:
            self.begun.pop(who, None)
            assert space is not None
            assert (keeper.link.space, keeper.link.name, keeper.link.up) == (space, ifname, True)
            self.held[who] = device
            self.has_what_was_promised(who, device, leased, who == holder or who in self.reset)
            self.reset.discard(who)
        elif isinstance(failure, Killed):
            self.note_interrupted(who, device)
        else:
            after = self.records_by_id().get(who)
            if after != before.get(who) and after is not None:
                assert trouble is not None or not self.in_order
                self.note_interrupted(who, device)
            elif after is None:
                self.held.pop(who, None)
            if self.in_order and trouble is None:
                self.add_had_to_fail(
                    failure, space is None, taken, holder not in (None, who), leases
                )
                # A reset, or the healing of what its pod did, may have given it another name than
                # the one that it is asked for by.
                renamed = {keeper.original.ifname, asked} - {keeper.link.name, None} != set()
                assert isinstance(failure, DeviceNotFound) <= (renamed or not keeper.is_plugged)
                assert keeper.is_whole() or not was_home

    def has_what_was_promised(self, who: Id, device: str, leased: bool, repeated: bool) -> None:
        keeper = self.keepers[device]
        given = {str(own.address.interface) for own in keeper.link.addresses if not own.by_kernel}
        addresses = keeper.given
        if repeated:
            # The answer is that of the first ADD, whatever IPAM the second asks for.
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
            self.note_gone(who, None if about is None else about[0])
        elif isinstance(failure, Killed):
            if who not in self.records_by_id():
                self.note_gone(who, None)
            if about is not None:
                self.note_interrupted(who, about[0])
        elif about is None and edited is not None:
            assert isinstance(failure, (InvalidConfiguration, UndecodableInput, UnsupportedVersion))
        else:
            self.delete_had_to_fail(failure, trouble)
            if about is not None:
                self.note_interrupted(who, about[0])

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
        rdma = self.machine.kernel.rdma
        brought_home = rdma.exclusive and any(home for _, home in rdma.configured(link))
        if healthy and brought_home:
            assert isinstance(failure, CheckFailed | PluginFailed)
        elif healthy:
            assert failure is None or isinstance(failure, PluginFailed)
        elif record is None:
            assert isinstance(failure, UnknownAttachment)
        else:
            assert isinstance(failure, CheckFailed)

    @precondition(lambda self: self.machine.disk.files)
    @rule(keep=st.sets(st.integers(0, 5)), kill_at=kills, trouble=troubles)
    def collect_garbage(self, keep: set[int], kill_at: int | None, trouble: Trouble | None) -> None:
        before = self.records_by_id()
        self.abandoned |= self.earlier() if trouble or self.stuck else set()
        living = {who for who, (device, _) in before.items() if self.holder_of(device) == who}
        living -= self.reset
        kept = {who for n, who in enumerate(sorted(before)) if n in keep}
        valid = [{"containerID": container, "ifname": ifname} for container, ifname in sorted(kept)]
        config = config_for(**{"cni.dev/valid-attachments": valid})
        failure = self.call(Verb.GC, config, ("pod0", "net1", None), kill_at, trouble)
        after = self.records_by_id()
        for who in before:
            if who in kept and who in living:
                assert after[who] == before[who]
            elif failure is None and who not in kept:
                self.note_gone(who, before[who][0])
            elif who not in after:
                self.note_gone(who, None)
            else:
                self.note_interrupted(who, before[who][0])


TestLifecycle = Lifecycle.TestCase
# One machine stands for many tests.
TestLifecycle.settings = settings(max_examples=2 * settings().max_examples, stateful_step_count=30)
