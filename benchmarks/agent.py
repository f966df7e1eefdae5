"""Whole calls through the agent: by both clients, beside a bare move by `ip` and host-device."""

import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from amdcni.testing import Node, Pod, ThrowawayError
from amdcni_agent.asking import ask
from benchmarks.processes import Pairs
from benchmarks.stage import OURS, THEIRS, Job, Stage

LAUNCHER: Final = OURS.with_name("amd-host-device-static")
CALLERS: Final = {
    "launcher": [str(LAUNCHER)],
    "Python client": [str(OURS)],
    "alone": [str(OURS), "--alone"],
}
"""The executables that are called: two that ask the agent, and one that works without it."""
COMMAND: Final = Path(sysconfig.get_path("scripts"), "amdcni")
BARE_MOVE: Final = "bare move"
PLAIN: Final = "host-device"
LIMIT: Final = "10 ms in 100"

_MOVERS: Final = ("native", "delegate")
_VERBS: Final = ("ADD", "DEL")
_SOCKET: Final = "run/amdcni/agent.sock"
_RECORDS: Final = "var/lib/cni/amd-host-device"
_PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.002
_PAUSE: Final = Job(["sleep", "0.2"])
"""After it, nothing is left to pay of the processor time of the call before."""
_GROUP: Final = "/run/limited"
"""Where the node sees the cgroup in which a client has little processor time."""


@contextmanager
def agent(node: Node) -> Iterator[None]:
    """Run an agent on the node; raises ThrowawayError if it does not serve."""
    running = node.start([COMMAND, "agent"])
    try:
        _wait_until(lambda: ask(str(node.root / _SOCKET)) is not None, "the agent does not serve")
        yield
    finally:
        running.terminate()
        running.wait()


def _wait_until(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise ThrowawayError(failure)
        time.sleep(_POLL_S)


def measure(stage: Stage, rounds: int) -> Iterator[dict[str, Pairs]]:
    """All times so far, after each round; a first round only warms up the caches."""
    found: dict[str, Pairs] = {}
    limited = limit(stage.node)
    with agent(stage.node):
        for number in range(rounds + 1):
            times = _round(stage, limited, number)
            if number == 0:
                continue
            for name, (ours_ms, theirs_ms) in times.items():
                pairs = found.setdefault(name, Pairs())
                pairs.ours_ms.append(ours_ms)
                pairs.theirs_ms.append(theirs_ms)
            yield found


def _round(stage: Stage, limited: bool, number: int) -> dict[str, tuple[float, float]]:
    """Each call of a round beside what it is compared with; what comes first alternates."""
    theirs = [stage.call(THEIRS, verb, stage.theirs()) for verb in _VERBS]
    plain = [(BARE_MOVE, _bare_moves(stage)), (PLAIN, theirs)]
    for caller, words in CALLERS.items():
        plain += [(f"{caller}, {mover}", _calls(stage, words, mover)) for mover in _MOVERS]
    groups = list(plain)
    if limited:
        groups += [(f"{name}, {LIMIT}", _limited(jobs)) for name, jobs in plain[1:]]
    if number % 2:
        groups.reverse()
    jobs: list[Job] = []
    places: dict[tuple[str, str], int] = {}
    for name, group in groups:
        for verb, job in zip(_VERBS, group, strict=True):
            jobs += [_PAUSE] if name.endswith(LIMIT) else []
            places[verb, name] = len(jobs)
            jobs.append(job)
        jobs += stage.repair() if name == BARE_MOVE or name.startswith(PLAIN) else []
    runs = stage.run(jobs)
    times_ms = {place: runs[number].wall_s * 1000 for place, number in places.items()}
    return {
        f"{verb}, {name}, beside {beside}": (taken_ms, times_ms[verb, beside])
        for (verb, name), taken_ms in times_ms.items()
        for beside in _beside(name)
    }


def _beside(name: str) -> tuple[str, ...]:
    """What a call is compared with: with a limit the same without, else what has to be done."""
    if name.endswith(LIMIT):
        return (name.removesuffix(f", {LIMIT}"),)
    if name in (BARE_MOVE, PLAIN):
        return ()
    return (PLAIN, BARE_MOVE) if name.endswith("native") else (PLAIN,)


def _limited(jobs: Sequence[Job]) -> list[Job]:
    """The same calls with little processor time."""
    script = f'echo $$ > {_GROUP}/cgroup.procs; exec "$@"'
    return [Job(["sh", "-c", script, "sh", *job.argv], job.env, job.stdin) for job in jobs]


def _calls(stage: Stage, words: Sequence[str], mover: str) -> list[Job]:
    config = stage.ours(mover=mover)
    jobs = [stage.call(Path(words[0]), verb, config) for verb in _VERBS]
    return [Job(words, job.env, job.stdin) for job in jobs]


def _bare_moves(stage: Stage) -> list[Job]:
    ifname, pod = stage.nic.ifname, stage.pod.netns.rpartition("/")[2]
    out = f"link set {ifname} netns {pod} name net1"
    back = f"-n {pod} link set net1 netns {stage.node.netns} name {ifname}"
    return [Job(["ip", *out.split()]), Job(["ip", *back.split()])]


def limit(node: Node) -> bool:
    """Make a cgroup with little processor time in the node; False if this machine cannot."""
    script = (
        f"mkdir -p /run/cgroup {_GROUP}; "
        "if mount -t cgroup -o cpu cgroup /run/cgroup 2>/dev/null; then "
        "mkdir -p /run/cgroup/amdcni-bench; cd /run/cgroup/amdcni-bench; "
        "echo 100000 > cpu.cfs_period_us; echo 10000 > cpu.cfs_quota_us; "
        "else mount -t cgroup2 cgroup2 /run/cgroup; "
        "mkdir -p /run/cgroup/amdcni-bench; cd /run/cgroup/amdcni-bench; "
        "echo 10000 100000 > cpu.max; fi; "
        f"mount --bind . {_GROUP}"
    )
    return node.run(["sh", "-ec", script]).returncode == 0


def heal(stage: Stage, rounds: int) -> Iterator[list[float]]:
    """How long it takes from the death of a pod until its NIC is whole again, in ms, so far."""
    found: list[float] = []
    with agent(stage.node):
        for number in range(rounds + 1):
            pod = stage.node.add_pod(f"dying-{number}")
            add = stage.call(LAUNCHER, "ADD", stage.ours(mover="native"), CNI_NETNS=pod.netns)
            stage.run([add])
            found_ms = _time_until_whole(stage, pod)
            if number:
                found.append(found_ms)
                yield found


def _time_until_whole(stage: Stage, pod: Pod) -> float:
    records = stage.node.root / _RECORDS
    with ThreadPoolExecutor(max_workers=1) as another:
        began_s = time.perf_counter()
        dying = another.submit(pod.delete)
        _wait_until(lambda: not list(records.glob("*.json")), "the NIC is not healed")
        ended_s = time.perf_counter()
        dying.result()
    return (ended_s - began_s) * 1000
