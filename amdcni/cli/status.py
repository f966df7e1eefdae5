"""`amdcni status`: whether the agent serves, what is lent, and what needs somebody."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

import attrs

from amdcni.cli.attachments import Known, look_at_all
from amdcni.cli.node import nothing_lent, on_this_node_silently, read_records, set_aside_in
from amdcni.cli.printing import print_json, print_line
from amdcni.core.condition import Condition
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.effects.node import LinuxNode
from amdcni_agent.asking import ask

NO_AGENT: Final = 3
"""The exit status if nothing needs somebody, but calls do their work without the agent."""


@attrs.frozen
class Need:
    """What somebody should do about a device."""

    device: str
    words: str


@attrs.frozen
class Status:
    """The state of the node at a glance; `agent` is what the agent says of itself, if it serves."""

    agent: dict[str, Any] | None
    lent: tuple[Known, ...]
    needs: tuple[Need, ...]


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Show the state of the node; 1 if something needs somebody, 3 if only there is no agent."""
    with on_this_node_silently(options.data_dir or DEFAULT_DATA_DIR) as node:
        records = read_records(node)
        lent = look_at_all(records, node)
        needs = (*_needs(lent, node), *(Need(str(k), f) for k, f in set_aside_in(node.store)))
    status = Status(ask(options.socket), lent, needs)
    if options.json:
        print_json(_as_json(status), stdout)
    else:
        for line in _lines(status, options.data_dir):
            print_line(line, stdout)
    if status.needs:
        return 1
    return NO_AGENT if status.agent is None else 0


def _needs(lent: Sequence[Known], node: LinuxNode) -> Iterator[Need]:
    for each in lent:
        if each.fault is not None:
            yield Need(str(each.key), each.fault)
        about = None if each.condition is None else each.condition.about
        # A call that is at work has the device's lock, and will end.
        if (
            about is not None
            and about.remedy is not None
            and not node.is_locked(each.key.lock_name)
        ):
            yield Need(str(each.key), f"{about.words}; {about.next}")


def _lines(status: Status, data_dir: str | None) -> Iterator[str]:
    if status.agent is None:
        yield "The agent does not serve: calls do their work themselves, and nothing is watched."
        yield "Start it: amdcni agent"
    else:
        workers = status.agent["workers"]
        yield (
            f"The agent serves (process {status.agent['pid']}): {workers['working']} of "
            f"{workers['working'] + workers['idle']} workers at work, "
            f"{status.agent['waiting']} calls waiting."
        )
    found = Counter(each.condition for each in status.lent if each.condition is not None)
    if not status.lent:
        yield nothing_lent(data_dir)
    for condition, number in sorted(found.items()):
        yield f"{number} lent, {condition}: {condition.about.words}"
    if status.needs:
        yield "Needs somebody:"
    for need in status.needs:
        yield f"  {need.device}: {need.words}"


def _as_json(status: Status) -> dict[str, Any]:
    found = Counter(each.condition for each in status.lent)
    return {
        "agent": status.agent,
        "attachments": {condition.value: found[condition] for condition in Condition},
        "needs": [attrs.asdict(need) for need in status.needs],
    }
