"""Calls at the same time, and calls that are killed (CNI SPEC 1.1 §3, "Lifecycle & Ordering")."""

import functools
import ipaddress
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from amdcni.core.spec import Verb
from amdcni.testing.conformance.clauses import clause, fail
from amdcni.testing.conformance.stage import NICS, Container, Stage
from amdcni.testing.dumps import differences
from amdcni.testing.readings import dump

_REQUESTS = "sendto,sendmsg"
_MOMENTS = 6
_STRACE = "/usr/bin/strace"


@clause(
    "§3 Lifecycle",
    says='"Plugins must handle being executed concurrently across different containers"',
)
def test_different_containers_can_be_attached_and_detached_at_once(stage: Stage) -> None:
    containers = [stage.container(number) for number in range(1, NICS + 1)]
    for container in containers:
        container.delete(container.attached()).expect_silence()
        container.detach_before()
    before = dump(stage.node)
    containers = [container.prepared() for container in containers]
    with ThreadPoolExecutor(NICS) as threads:
        results = [outcome.expect_result() for outcome in threads.map(Container.add, containers)]
        told = [address for result in results for address in _addresses(result)]
        twice = sorted({address for address in told if told.count(address) > 1})
        if not _are_fixed(stage):
            fail([f"{address} went to several containers" for address in twice])
        for outcome in threads.map(Container.delete, containers, results):
            outcome.expect_silence()
    for container in containers:
        container.detach_before()
    fail(differences(before, dump(stage.node)))


def _addresses(result: dict[str, Any]) -> list[str]:
    """The addresses in a result of any version that are not those of a loopback."""
    families = [result[key]["ip"] for key in ("ip4", "ip6") if result.get(key)]
    told = [*families, *(ip["address"] for ip in result.get("ips") or [])]
    return [address for address in told if not ipaddress.ip_interface(address).is_loopback]


def _are_fixed(stage: Stage) -> bool:
    """Whether the configuration itself says which addresses are given."""
    ipam = stage.subject.config.get("ipam")
    return isinstance(ipam, dict) and ipam.get("type") == "static"


@clause(
    "§3 Adding an attachment, Lifecycle",
    Verb.ADD,
    says='"A delete must still be executed even if the add fails", also if it is killed',
)
def test_del_gives_everything_back_after_an_add_that_was_killed(
    stage: Stage, tmp_path: Path
) -> None:
    container = stage.container().prepared()
    container.delete(container.attached()).expect_silence()
    before = dump(stage.node)
    for moment, kill in [*_requests(container, tmp_path / "trace"), *_times(container)]:
        kill()
        deleted = container.delete()
        faults = differences(before, dump(stage.node))
        if not deleted.succeeded:
            faults.insert(0, f"DEL fails: {deleted}")
        fail([f"after a kill {moment}: {fault}" for fault in faults])


Kills = Iterator[tuple[str, Callable[[], object]]]


def _requests(container: Container, trace: Path) -> Kills:
    """Kill ADD at some of the requests that it makes to the kernel, if strace is there to do it."""
    if not Path(_STRACE).exists():
        return
    strace: list[str | Path] = [_STRACE, "-f", "-qq", "-e", f"trace={_REQUESTS}", "-o"]
    add = functools.partial(container.call, Verb.ADD, result=container.previous)
    add(through=[*strace, trace]).expect_result()
    container.delete().expect_silence()
    threads = [line.split()[0] for line in trace.read_text().splitlines() if "NETLINK" in line]
    count = max(map(threads.count, threads), default=0)
    for step in range(min(count, _MOMENTS)):
        number = 1 + step * count // min(count, _MOMENTS)
        inject = f"inject={_REQUESTS}:signal=KILL:when={number}"
        kill = functools.partial(add, through=[*strace, "/dev/null", "-e", inject])
        yield f"at request {number} of {count}", kill


def _times(container: Container) -> Kills:
    """Kill ADD at several moments of the time that it takes."""
    begun = time.monotonic()
    container.call(Verb.ADD, result=container.previous).expect_result()
    taken_s = time.monotonic() - begun
    container.delete().expect_silence()
    for step in range(1, _MOMENTS + 1):
        wait_s = taken_s * step / (_MOMENTS + 1)
        kill = functools.partial(container.call_killed, Verb.ADD, wait_s, result=container.previous)
        yield f"after {1000 * wait_s:.0f} ms of {1000 * taken_s:.0f}", kill
