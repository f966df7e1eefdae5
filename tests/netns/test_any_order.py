"""Calls, kills, dying pods and full disks in any order on the real kernel: nothing is lost.

A state machine plays runtimes, an operator and accidents on a node with three NICs and three pods.
After every step the kernel and the disk have to agree with an account (`account.py`) that follows
`predictions.py`.
`make fuzz` plays for as long as you like.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any, Unpack, assert_never

import hypothesis
import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from amdcni.testing import (
    CallOptions,
    Dump,
    Namespace,
    Nic,
    Outcome,
    Pod,
    Section,
    dump,
    skip_reason,
    throwaway_node,
)
from amdcni.testing.readings import read
from tests import profiles
from tests.netns.account import (
    Account,
    Add,
    Call,
    Check,
    Collect,
    Delete,
    Heal,
    Home,
    Lent,
    Record,
    Reset,
    Status,
    Unfinished,
    Unmarked,
)
from tests.netns.agents import agent_on, preparation, serve_only
from tests.netns.command import start_amdcni
from tests.netns.occurrences import (
    AtOnce,
    Disk,
    Killed,
    Occurrence,
    PodEnds,
    PodMeddles,
    Port,
    Resets,
    Rests,
    RulesGo,
    occurrences,
)
from tests.netns.predictions import SOMETHING_NOT_HEALED, explanations, matching, remnants
from tests.netns.resets import reset
from tests.netns.runtime import DEBIAN, Runtime, addresses, damage, fill_disk, records, remains
from tests.netns.three_nics import (
    BDFS,
    MAC,
    PODS,
    PORT,
    PORTS,
    RULES,
    VLAN,
    deviations,
    furnished,
    on_no_bus,
    renumbered,
    require_lent,
    without_marks,
)
from tests.netns.warm import AnyCall as Process

DISK_BYTES = 128 * 1024

happened: Counter[str] = Counter()
"""How often each kind of event happened, for `fuzz.py`."""

failures: list[str] = []
"""What happened in each failed example, in sentences."""


class TimeIsOver(BaseException):
    """The time to play is over; not an `Exception`, which Hypothesis would count as a failure."""


class AnyOrder(RuleBasedStateMachine):
    """A node, what happens to it, and the account of it."""

    def __init__(self, plugin: Path, until: float, *, served: bool = False) -> None:
        """With `served`, calls go through an agent, which does nothing by itself."""
        super().__init__()
        if not failures and time.monotonic() > until:
            raise TimeIsOver
        self.stack = ExitStack()
        self.agreed = False
        self.untidy = False
        """Whether a call was killed and none has ended successfully since."""
        self.story: list[str] = []
        self.results: dict[str, Any] = {}
        self.port: Nic | None = None
        self.account = Account(
            nics=dict.fromkeys(BDFS, Home()),
            alive=frozenset(PODS),
            containers=dict.fromkeys(PODS, 1),
        )
        try:
            self.node = self.stack.enter_context(throwaway_node())
            self.runtime = Runtime(self.node, plugin)
            self.disk = self.node.cover("/var/lib/cni", size_bytes=DISK_BYTES)
            self.nics = furnished(self.node)
            self.served = served
            if served:
                self.stack.enter_context(agent_on(self.node, before=preparation(serve_only)))
            self.pods = {name: self.node.add_pod(name) for name in PODS}
            self.before = dump(self.node)
        except BaseException:
            self.stack.close()
            raise
        happened["example"] += 1
        self.agreed = True

    @rule(what=occurrences)
    def then(self, what: Occurrence) -> None:
        match what:
            case Killed(call, before_change):
                self.kill(call, before_change)
            case AtOnce(calls):
                # One call may free the space that another one needs.
                if len(calls) == 1 or not self.account.disk_full:
                    self.at_once(calls)
            case PodEnds(pod, restarts):
                self.a_pod_ends(pod, restarts)
            case Disk(full):
                self.the_disk(full)
            case PodMeddles(pod):
                self.a_pod_meddles(pod)
            case Port(appears):
                self.another_port(appears)
            case Resets(nic):
                self.a_nic_is_reset(nic)
            case RulesGo(nic):
                self.rules_go(nic)
            case Rests(nic, child):
                self.something_rests(nic, child)
            case _:
                assert_never(what)

    # ---- calls

    def kill(self, call: Call, before_change: int) -> None:
        call = self.account.resolved(call)
        with self.step(f"{call}, to be killed before change {before_change}"):
            outcome = self.start(call, before_change).wait()
            if outcome.exit_status == -SIGKILL:
                self.is_explained_by_a_kill(call)
            else:
                self.are_explained([call], [outcome])
                # A worker that is killed has its lock until it is gone, and the client, which does
                # the work then, waits only for the lock of what the call is about.
                self.untidy |= self.served

    def is_explained_by_a_kill(self, call: Call) -> None:
        self.note_end(call, "killed")
        self.untidy = True
        seen = self.records()
        states = {nic: remnants(self.account, call, nic, seen.get(nic)) for nic in BDFS}
        left = {nic: state for nic, state in states.items() if state is not None}
        assert left.keys() == BDFS.keys(), f"{call} must not leave {seen}; before: {self.account}"
        self.account = self.account.having(**left)

    def at_once(self, calls: Sequence[Call]) -> None:
        calls = [self.account.resolved(call) for call in calls]
        happened["calls at once"] += len(calls) > 1
        with self.step(" | ".join(map(str, calls))):
            started = [self.start(call) for call in calls]
            self.are_explained(calls, [process.wait() for process in started])

    def are_explained(self, calls: Sequence[Call], outcomes: Sequence[Outcome]) -> None:
        """Continue with an account that explains these outcomes and the records on disk."""
        codes = [code_of(call, outcome) for call, outcome in zip(calls, outcomes, strict=True)]
        for call, outcome, code in zip(calls, outcomes, codes, strict=True):
            self.note_end(call, "done" if code is None else f"error {code}", outcome)
            if isinstance(call, Add) and outcome.succeeded:
                self.lists_all_addresses(call, outcome.answer)
            if outcome.succeeded and not isinstance(call, Check):
                self.untidy = False
        possible = explanations(self.account, calls, codes)
        assert possible, f"{self.account} does not explain this"
        account = matching(possible, self.records())
        assert account is not None, f"{self.records()} is on disk, which none of {possible} has"
        self.account = account

    def note_end(self, call: Call, end: str, outcome: Outcome | None = None) -> None:
        happened[f"{type(call).__name__}: {end}"] += 1
        answer = None if outcome is None else outcome.answer
        said = answer["msg"] if isinstance(answer, dict) and "msg" in answer else ""
        self.story.append(f"    {call}: {end} {said}".rstrip())

    def start(self, call: Call, before_change: int | None = None) -> Process:
        """Start a call; with `before_change`, one of a runtime is killed on the way."""
        account, runtime = self.account, self.runtime.having("deviceID", "pciBusID")
        nobody: Any = {"container_id": "", "ifname": "", "netns": "", "path": [DEBIAN]}
        match call:
            case Add(nic, by, mover):
                # Until it answers, its runtime has no result to pass to CHECK.
                self.results.pop(str(account.who(by)), None)
                return self.by(by, device(runtime, nic).having(mover=mover), "ADD", before_change)
            case Delete(by, nic, netns):
                runtime = runtime if nic is None else device(runtime, nic)
                return self.by(by, runtime, "DEL", before_change, netns=netns)
            case Check(nic, by):
                unknown = {"cniVersion": "1.1.0", "interfaces": [], "ips": []}
                result = self.results.get(str(account.who(by)), unknown)
                asked = device(runtime, nic).having(prevResult=result)
                return self.by(by, asked, "CHECK", before_change)
            case Collect(spared):
                if spared is not None:
                    valid = [
                        {"containerID": who.container_id, "ifname": who.ifname}
                        for who in sorted(map(account.who, spared), key=str)
                    ]
                    runtime = runtime.having(**{"cni.dev/valid-attachments": valid})
                return self.call_of(runtime, "GC", before_change, **nobody)
            case Heal():
                return start_amdcni(self.node, "heal", "--json")
            case Status():
                return runtime.start("STATUS", **nobody)

    def by(
        self, someone: Any, runtime: Runtime, command: str, kill: int | None, netns: bool = True
    ) -> Process:
        who = self.account.who(someone)
        options: CallOptions = {
            "container_id": who.container_id,
            "ifname": who.ifname,
            "netns": self.pods[who.pod].netns if netns else "",
            "path": [DEBIAN],
        }
        return self.call_of(runtime, command, kill, **options)

    def call_of(
        self, runtime: Runtime, command: str, kill: int | None, **options: Unpack[CallOptions]
    ) -> Process:
        """Start a call, which may be killed: it, or the worker that serves it."""
        if kill is None:
            return runtime.start(command, **options)
        if self.served:
            return runtime.start_whose_worker_dies(("change", kill), command, **options)
        return runtime.start_to_die(("change", kill), command, **options)

    # ---- accidents

    def a_pod_ends(self, pod: str, restarts: bool) -> None:
        with self.step(f"{pod} ends" + (" and starts again" if restarts else "")):
            if pod in self.account.alive:
                happened["a pod ends"] += 1
                self.pods[pod].delete()
                self.account = self.account.pod_dies(pod)
                self.the_vlan_is_made_again()
            if restarts:
                happened["a pod starts"] += 1
                self.pods[pod].create()
                self.account = self.account.pod_starts(pod)

    def the_vlan_is_made_again(self) -> None:
        """Make the VLAN as at boot if it was in the pod, for then the kernel has destroyed it."""
        old = self.nics[VLAN]
        if all(old.peer_ifindex not in indexes_in(where) for where in (self.node, *self.living())):
            happened["the VLAN is destroyed"] += 1
            self.nics[VLAN] = on_no_bus(self.node, VLAN, "10.0.3.1/24")
            (made,) = self.node.ip_json(f"link show dev {VLAN}")
            self.before = renumbered(self.before, VLAN, made["ifindex"])

    def living(self) -> Iterator[Pod]:
        return (self.pods[pod] for pod in self.account.alive)

    def a_pod_meddles(self, pod: str) -> None:
        with self.step(f"{pod} meddles"):
            for state in self.account.nics.values():
                if isinstance(state, Lent) and state.who.pod == pod:
                    happened["a pod meddles"] += 1
                    meddle(self.pods[pod], state.who.ifname)

    def a_nic_is_reset(self, nic: str) -> None:
        """Reset a NIC that a pod has; one on the host just has to be configured anew."""
        state = self.account.nics[nic]
        if isinstance(state, Lent):
            with self.step(f"{nic} is reset"):
                happened["a NIC is reset"] += 1
                reset(self.node, self.nics[nic], self.pods[state.who.pod], f"new-{nic}")
                self.account = self.account.having(**{nic: Reset(state.who)})

    def rules_go(self, nic: str) -> None:
        """Remove the rules of a NIC that is away; some may have been removed before."""
        if self.account.nics[nic] != Home():
            with self.step(f"the rules of {nic} are removed"):
                happened["rules are removed"] += 1
                for rule in RULES[nic]:
                    self.node.run(["ip", "rule", "delete", *rule.split()])

    def another_port(self, appears: bool) -> None:
        with self.step(f"{PORT} {'appears' if appears else 'disappears'}"):
            if appears and self.port is None:
                happened["another port appears"] += 1
                self.port = self.node.add_nic(BDFS["eth1"], PORT, [PORTS], mac=MAC)
            elif self.port is not None and not appears:
                self.port.peer.ip("link delete wire")
                self.node.nics.remove(self.port)
                self.node.forget(self.port, PORT)
                self.port = None

    def the_disk(self, full: bool) -> None:
        with self.step(f"the disk is {'full' if full else 'empty'}"):
            (self.disk / "filler").unlink(missing_ok=True)
            happened["the disk is full"] += full
            self.account = evolve(self.account, disk_full=full)

    def something_rests(self, nic: str, child: str) -> None:
        """Put a netdev on top of a NIC, or remove it; nobody puts one on a NIC that is away."""
        carrying = dict(self.account.carrying)
        if nic in carrying:
            with self.step(f"{nic} no longer carries anything"):
                self.node.ip(f"link delete top-{nic}")
                del carrying[nic]
                self.account = evolve(self.account, carrying=carrying)
        elif self.account.nics[nic] == Home():
            ip = self.nics[nic].addresses[0].partition("/")[0]
            number = sorted(BDFS).index(nic) + 1
            carrying[nic] = child.format(nic=nic, id=number, ip=ip)
            with self.step(f"{nic} carries {carrying[nic]}"):
                happened["something rests on a NIC"] += 1
                self.node.ip(f"link add top-{nic} {carrying[nic]}")
                self.account = evolve(self.account, carrying=carrying)

    # ---- what has to agree

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Let something happen, then require that all agrees; a failure has the whole story."""
        happened["step"] += 1
        self.agreed = False
        self.story.append(what)
        try:
            if self.account.disk_full:
                fill_disk(self.disk / "filler")
            yield
            self.all_agree()
        except Exception as failure:
            failures.append("\n".join([*self.story, f"    {type(failure).__name__}: {failure}"]))
            raise
        self.agreed = True

    def lists_all_addresses(self, call: Add, result: Any) -> None:
        """Require that the result of an ADD lists all addresses of the NIC."""
        who = str(self.account.who(call.by))
        listed = sorted(ip["address"] for ip in result["ips"])
        assert listed == sorted(self.nics[call.nic].addresses), result
        self.results[who] = result

    def records(self) -> dict[str, Record]:
        """Return the records on disk by NIC, read as plain JSON."""
        names = {f"{bdf}.json": nic for nic, bdf in BDFS.items()}
        names[f"{BDFS['eth1']}@eth1.json"] = "eth1"
        return {
            names[file]: Record(
                record["id"]["containerID"],
                record["id"]["ifname"],
                finished=record["phase"] == "attached",
                again=record["phase"] == "attaching" and "result" in record,
            )
            for file, record in records(self.node).items()
        }

    def all_agree(self) -> None:
        assert self.records() == self.account.records()
        self.files_agree()
        for pod in sorted(self.account.alive):
            self.pod_agrees(self.pods[pod])
        # Usually the host is already at rest.
        now, pending = read(self.node)
        for nic in self.account.carrying:
            assert f"top-{nic}" in now.names(Section.NETDEV), f"what {nic} carried is gone"
        if pending or self.deviations(now):
            lasting = self.deviations(dump(self.node))
            assert lasting == [], lasting

    def files_agree(self) -> None:
        known = [BDFS[nic] for nic in self.account.records()]
        left = [
            path
            for path in remains(self.node)
            if not (path == "filler" or any(bdf in path for bdf in known) or self.untidy)
        ]
        assert left == []

    def deviations(self, now: Dump) -> list[str]:
        if self.port is not None:
            assert addresses(self.node, PORT) == [PORTS]
        at_home = {nic for nic, state in self.account.nics.items() if state == Home()}
        begun = [path.partition("unfinished/")[2] for path in remains(self.node)]
        return deviations(self.before, without_marks(now, begun), at_home)

    def pod_agrees(self, pod: Pod) -> None:
        """Require that the pod has what it was lent, complete, and nothing else."""
        links = {link["ifname"]: link for link in pod.ip_json("address show")}
        for nic, state in self.account.nics.items():
            match state:
                case Lent(who) if who.pod == pod.name:
                    require_lent(self.nics[nic], links.pop(who.ifname, None))
                case Unfinished(who) | Unmarked(who) | Reset(who) if who.pod == pod.name:
                    index = self.nics[nic].peer_ifindex
                    links = {
                        n: link for n, link in links.items() if link.get("link_index") != index
                    }
                case _:
                    pass
        assert links.keys() == {"lo"}

    def teardown(self) -> None:
        """Every holder calls DEL, and the host is as it was."""
        with self.stack:
            if self.agreed:
                self.the_disk(full=False)
                for nic in list(self.account.carrying):
                    self.something_rests(nic, "")
                holders = sorted(self.account.holders(), key=str)
                self.at_once([Delete(who, None, netns=False) for who in holders])
                if self.untidy:
                    self.at_once([Heal()])
                with self.step("everything has been returned"):
                    assert self.account.records() == {}
                    self.another_port(appears=False)
                    assert damage(self.before, self.node) == []


def device(runtime: Runtime, nic: str) -> Runtime:
    """Return a runtime whose configuration names the NIC, and the netdev if it may have several."""
    if nic == VLAN:
        return runtime.having(device=nic)
    named = {"device": nic} if nic == "eth1" else {}
    return runtime.having(deviceID=BDFS[nic], pciBusID=BDFS[nic], **named)


def meddle(pod: Pod, ifname: str) -> None:
    """Change everything by which a netdev might be recognized, its driver's settings and queues."""
    (link,) = pod.ip_json(f"link show dev {ifname}")
    pod.ip_batch(
        [
            *(
                f"link property del dev {ifname} altname {name}"
                for name in link.get("altnames", [])
            ),
            f"link set {ifname} address 02:00:00:00:99:01 gso_max_size 20000",
        ]
    )
    pod.queues(ifname, "rx-0/rps_cpus=1", "gro_flush_timeout=7", "gro_ipv4_max_size=10000")
    pod.ethtool(ifname, "feature", "tx-tcp-segmentation", "off")


def indexes_in(where: Namespace) -> set[int | None]:
    """Return the numbers of the netdevs at the other ends of those in a netns."""
    return {link.get("link_index") for link in where.ip_json("link show")}


def code_of(call: Call, outcome: Outcome) -> int | None:
    """Return the code of an error, which must be an error object, or None for success."""
    if outcome.succeeded:
        return None
    assert outcome.exit_status == 1, outcome
    if isinstance(call, Heal):
        return SOMETHING_NOT_HEALED
    assert outcome.error_code is not None, outcome
    assert "internal error" not in outcome.answer["msg"], outcome
    return outcome.error_code


def play(
    plugin: Path,
    profile: settings,
    seed: int | None = None,
    until: float = math.inf,
    *,
    served: bool = False,
) -> None:
    """Play examples, with `served` through an agent.

    A failure says what happened in the first example that failed, and in the last.  The last is
    the smallest, unless the outcome depends on which of several calls was faster.

    Raises:
        TimeIsOver: an example would have begun after `until`, by `time.monotonic`.
    """
    failures.clear()
    machine: Any = partial(AnyOrder, plugin, until, served=served)
    try:
        run_state_machine_as_test(
            machine if seed is None else hypothesis.seed(seed)(machine), settings=profile
        )
    except Exception as failure:
        if not failures and time.monotonic() > until:
            # Hypothesis complains that an example that it has begun draws nothing more.
            raise TimeIsOver from None
        for which, story in zip(("first", "last"), failures[:1] + failures[1:][-1:], strict=False):
            failure.add_note(f"The {which} failure:\n{story}")
        raise


@pytest.mark.parametrize(
    "served",
    [False, pytest.param(True, marks=pytest.mark.thorough)],
    ids=["alone", "through the agent"],
)
def test_the_host_is_restored_in_whatever_order_things_happen(plugin: Path, served: bool) -> None:
    reason = skip_reason()
    if reason is not None:
        pytest.skip(reason)
    play(plugin, profiles.KERNEL[profiles.CHOSEN], served=served)
