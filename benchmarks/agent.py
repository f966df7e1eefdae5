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
from benchmarks.stage import OURS, THEIRS, Job, Run, Stage

LAUNCHER: Final = OURS.with_name("amd-host-device-static")
CLIENTS: Final = {"launcher": LAUNCHER, "Python client": OURS}
COMMAND: Final = Path(sysconfig.get_path("scripts"), "amdcni")
ALONE: Final = "--alone"
LIMIT: Final = "10 ms in 100"

_MOVERS: Final = ("native", "delegate")
_VERBS: Final = ("ADD", "DEL")
_SOCKET: Final = "run/amdcni/agent.sock"
_RECORDS: Final = "var/lib/cni/amd-host-device"
_PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.002
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
    moves = _bare_moves(stage)
    theirs = [stage.call(THEIRS, verb, stage.theirs()) for verb in _VERBS]
    groups: list[tuple[str, list[Job]]] = [
        ("bare move", moves),
        ("host-device", theirs),
        *(
            (f"{client}, {mover}", _calls(stage, [str(path)], mover))
            for client, path in CLIENTS.items()
            for mover in _MOVERS
        ),
        ("alone, native", _calls(stage, [str(OURS), ALONE], "native")),
    ]
    if limited:
        words = ["sh", "-c", f'echo $$ > {_GROUP}/cgroup.procs; exec "$@"', "sh", str(LAUNCHER)]
        groups.append((f"launcher with {LIMIT}, native", _calls(stage, words, "native")))
    if number % 2:
        groups.reverse()
    jobs: list[Job] = []
    places: dict[str, int] = {}
    for name, group in groups:
        places[name] = len(jobs)
        jobs += [*group, *(stage.repair() if name in ("bare move", "host-device") else [])]
    runs = stage.run(jobs)

    def taken(name: str, verb: str) -> Run:
        return runs[places[name] + _VERBS.index(verb)]

    times = {}
    for name in places:
        for verb in _VERBS:
            for beside in ("bare move", "host-device", "launcher, native"):
                if _is_compared(name, beside):
                    pair = (taken(name, verb).wall_s * 1000, taken(beside, verb).wall_s * 1000)
                    times[f"{verb}, {name}, beside {beside}"] = pair
    return times


def _is_compared(name: str, beside: str) -> bool:
    if name in ("bare move", "host-device"):
        return False
    if LIMIT in name:
        return beside == "launcher, native"
    if name.endswith("delegate") or name.startswith("alone"):
        return beside == "host-device"
    return beside == "bare move"


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
