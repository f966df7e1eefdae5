"""Calls at the same time, and calls that are killed (CNI SPEC 1.1 §3, "Lifecycle & Ordering")."""

import contextlib
import functools
import ipaddress
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from amdcni.core.errors import AmdcniError
from amdcni.core.spec import Verb
from amdcni.testing.conformance.answers import require_success
from amdcni.testing.conformance.clauses import Level, clause, not_applicable, require_none
from amdcni.testing.conformance.shapes import entries_of
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
    results = [container.attached() for container in containers]
    # A plugin may give all of its containers the same address, as behind a NAT in each of them.
    shared = _addresses_of_several(results)
    for container, result in zip(containers, results, strict=True):
        require_success(container.delete(result))
        container.detach_before()
    before = dump(stage.node)
    containers = [container.prepared() for container in containers]
    with ThreadPoolExecutor(NICS) as threads:
        results = [outcome.expect_result() for outcome in threads.map(Container.add, containers)]
        twice = sorted(_addresses_of_several(results) - shared)
        require_none(f"{address} went to several containers" for address in twice)
        for outcome in threads.map(Container.delete, containers, results):
            require_success(outcome)
    for container in containers:
        container.detach_before()
    require_none(differences(before, dump(stage.node)))


def _addresses_of_several(results: Sequence[Mapping[str, Any]]) -> set[str]:
    """The addresses that more than one result has, except those of a loopback."""
    all_of_them = [address for result in results for address in set(_addresses(result))]
    return {address for address in all_of_them if all_of_them.count(address) > 1}


def _addresses(result: Mapping[str, Any]) -> Iterator[str]:
    families = [result[key]["ip"] for key in ("ip4", "ip6") if result.get(key)]
    for address in [*families, *(ip["address"] for ip in entries_of(result, "ips"))]:
        if not ipaddress.ip_interface(address).is_loopback:
            yield address


@clause(
    "§3 Adding an attachment, Lifecycle",
    Verb.ADD,
    Level.SHOULD,
    says='"A delete must still be executed even if the add fails", or is killed',
)
def test_del_gives_everything_back_after_an_add_that_was_killed(
    stage: Stage, tmp_path: Path
) -> None:
    container = stage.container()
    _delete_without_a_kill(container, container.attached())
    before = dump(stage.node)
    for moment, kill in [*_requests(container, tmp_path / "trace"), *_times(container)]:
        with _set_up():
            ready = container.prepared()
        kill(ready)
        deleted = ready.delete()
        with _set_up():
            container.detach_before()
        faults = differences(before, dump(stage.node))
        if not deleted.succeeded:
            faults.insert(0, f"DEL fails: {deleted}")
        require_none(f"after a kill {moment}: {fault}" for fault in faults)


@contextlib.contextmanager
def _set_up() -> Iterator[None]:
    """Give up the clause if a plugin before this one fails, even because of the kill."""
    try:
        yield
    except AmdcniError as failure:
        not_applicable(f"a plugin before this one fails: {failure}")


def _delete_without_a_kill(container: Container, result: Mapping[str, Any] | None = None) -> None:
    deleted = container.delete(result)
    if not deleted.succeeded:
        not_applicable(f"it needs a DEL that works without a kill, and this one fails: {deleted}")
    container.detach_before()


Kill = Callable[[Container], object]


def _requests(container: Container, trace: Path) -> Iterator[tuple[str, Kill]]:
    """Kill ADD at some of the requests that it makes to the kernel, if there is strace to do it."""
    if not Path(_STRACE).exists():
        return
    strace: list[str | Path] = [_STRACE, "-f", "-qq", "-e", f"trace={_REQUESTS}", "-o"]
    container.attached(through=[*strace, trace])
    _delete_without_a_kill(container)
    threads = [line.split()[0] for line in trace.read_text().splitlines() if "NETLINK" in line]
    count = max(map(threads.count, threads), default=0)
    for step in range(min(count, _MOMENTS)):
        number = 1 + step * count // min(count, _MOMENTS)
        inject = f"inject={_REQUESTS}:signal=KILL:when={number}"
        through = [*strace, "/dev/null", "-e", inject]
        yield f"at request {number} of {count}", functools.partial(Container.add, through=through)


def _times(container: Container) -> Iterator[tuple[str, Kill]]:
    """Kill ADD at several moments of the time that it takes."""
    ready = container.prepared()
    begun = time.monotonic()
    ready.attached()
    taken_s = time.monotonic() - begun
    _delete_without_a_kill(container)
    for step in range(1, _MOMENTS + 1):
        wait_s = taken_s * step / (_MOMENTS + 1)
        moment = f"after {1000 * wait_s:.0f} ms of {1000 * taken_s:.0f}"
        yield moment, functools.partial(Container.add_killed, after_s=wait_s)
