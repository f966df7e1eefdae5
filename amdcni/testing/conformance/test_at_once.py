"""Calls at the same time, and calls that are killed (CNI SPEC 1.1 §3, "Lifecycle & Ordering")."""

import ipaddress
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from amdcni.core.spec import Verb
from amdcni.testing.conformance.clauses import clause, fail, not_applicable
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
    if not Path(_STRACE).exists():
        not_applicable(f"{_STRACE} is not there, which kills a plugin at a request to the kernel")
    container = stage.container().prepared()
    container.delete(container.attached()).expect_silence()
    before = dump(stage.node)
    count = _requests_of(container, tmp_path / "trace")
    if not count:
        not_applicable("the plugin makes no request to the kernel")
    container.delete().expect_silence()
    wrong = []
    for moment in sorted({1 + (count - 1) * step // _MOMENTS for step in range(_MOMENTS + 1)}):
        container.call(Verb.ADD, result=container.previous, through=_killing_at(moment))
        deleted = container.delete()
        faults = differences(before, dump(stage.node))
        if not deleted.succeeded:
            faults.insert(0, f"DEL fails: {deleted}")
        if faults:
            wrong.append(f"after a kill at request {moment} of {count}: {', '.join(faults)}")
            break
    fail(wrong)


def _requests_of(container: Container, trace: Path) -> int:
    """How many netlink messages the busiest thread of an ADD sends."""
    through: list[str | Path] = [_STRACE, "-f", "-qq", "-o", trace, "-e", f"trace={_REQUESTS}"]
    container.add(through=through).expect_result()
    threads = [line.split()[0] for line in trace.read_text().splitlines() if "NETLINK" in line]
    return max(map(threads.count, threads), default=0)


def _killing_at(moment: int) -> list[str | Path]:
    """The command that runs a plugin and kills it instead of its `moment`-th netlink message."""
    inject = f"inject={_REQUESTS}:signal=KILL:when={moment}"
    return [_STRACE, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={_REQUESTS}", "-e", inject]
