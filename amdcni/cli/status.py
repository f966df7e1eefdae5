"""`amdcni status`: whether the agent serves, what is lent, and what needs attention."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

import attrs

from amdcni.cli.examining import (
    bin_dirs_of,
    examine_checkpoint,
    examine_executable,
    examine_lost,
    examine_state,
    state_folders,
)
from amdcni.cli.known import Known, commands, look_at_all, state_of
from amdcni.cli.listing import Listing, serve_listing
from amdcni.cli.node import nothing_lent, on_this_node_silently, read_records, set_aside_in
from amdcni.core import diagnosis
from amdcni.core.condition import Condition
from amdcni.core.diagnosis import Finding, Subject, Verdict
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.effects import survey
from amdcni.effects.node import LinuxNode
from amdcni.effects.policy import find_policy
from amdcni.ports import OpenNode
from amdcni_agent.asking import ask, find_listener

NO_AGENT: Final = 3
"""The exit status if nothing needs attention, but calls do their work without the agent."""


@attrs.frozen
class Need:
    """What somebody should do about a device, or if that is None, about the node.

    `about` is the same for people: the device, and who has it.
    """

    subject: Subject
    device: str | None
    words: str
    about: str


@attrs.frozen
class Status:
    """The state of the node at a glance; `agent` is what the agent says of itself, if it serves.

    `silent` is its process, if it is there and does not answer.  `aside` is how many records were
    set aside as damaged.
    """

    agent: dict[str, Any] | None
    lent: tuple[Known, ...]
    needs: tuple[Need, ...]
    aside: int = 0
    silent: int | None = None


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Show the state of the node; 1 if something needs attention, 3 if only the agent is away."""
    return serve_listing(lambda: look(options), options, stdout)


def look(options: argparse.Namespace) -> Listing:
    """The state of the node now, in sentences; nothing is changed."""
    folder, alone = options.data_dir or DEFAULT_DATA_DIR, options.data_dir is not None
    with on_this_node_silently(folder, alone=alone) as node:
        needs = tuple(_needs_of_node(options, node))
        agent = ask(options.socket)
        silent = find_listener(options.socket) if agent is None else None
        return listing_of(node, agent, needs, options.data_dir, silent)


def listing_of(
    node: OpenNode,
    agent: dict[str, Any] | None,
    needs: tuple[Need, ...],
    data_dir: str | None,
    silent: int | None = None,
) -> Listing:
    """The state of a node, `needs` being those of the node itself; see `Status`."""
    records = read_records(node)
    lent = look_at_all(records, node)
    aside = [
        Need(Subject.RECORDS, str(key), fault, str(key)) for key, fault in set_aside_in(node.store)
    ]
    needs = (*needs, *_needs(lent), *aside)
    status = Status(agent, lent, needs, aside=len(aside), silent=silent)
    well = NO_AGENT if status.agent is None else 0
    return Listing(
        (), (), tuple(_lines(status, data_dir)), _as_json(status), 1 if status.needs else well
    )


def _needs_of_node(options: argparse.Namespace, node: LinuxNode) -> Iterator[Need]:
    """What keeps every ADD from working, as `amdcni doctor` says it."""
    for finding in _examine(options, node):
        if finding.verdict is Verdict.FAILED:
            words = f"{finding.says}; {finding.remedy}"
            yield Need(finding.subject, None, words, str(finding.subject))


def _examine(options: argparse.Namespace, node: LinuxNode) -> Iterator[Finding]:
    policy = find_policy()
    yield diagnosis.judge_policy(policy, None)
    yield from examine_checkpoint(policy, node)
    conf_dir = survey.read_conf_dir(options.cni_conf_dir)
    yield from examine_executable(bin_dirs_of(options, conf_dir))
    folders = state_folders(options.data_dir)
    for path in folders.there:
        yield examine_state(path, policy)
    yield from examine_lost(folders)


def _needs(lent: Sequence[Known]) -> Iterator[Need]:
    for each in lent:
        record, seen = each.record, each.seen
        if each.needs_somebody:
            whom = each.about if record is None else f"{each.about} of {record.lent_to}"
            words = each.words if seen is None else f"{seen.words}; {seen.next}"
            yield Need(Subject.RECORDS, str(each.key), words, whom)


def _lines(status: Status, data_dir: str | None) -> Iterator[str]:
    if status.silent is not None:
        silent = diagnosis.agent_silent(status.silent)
        yield f"{silent[0].upper()}{silent[1:]}."
        yield f"Restart it: {diagnosis.RESTART_AGENT}"
    elif status.agent is None:
        yield f"{diagnosis.AGENT_AWAY[0].upper()}{diagnosis.AGENT_AWAY[1:]}."
        yield f"Start it: {diagnosis.START_AGENT}"
    else:
        workers = status.agent["workers"]
        yield (
            f"The agent serves (process {status.agent['pid']}): {workers['working']} of "
            f"{workers['working'] + workers['idle']} workers at work, "
            f"{status.agent['waiting']} calls waiting."
        )
    if not status.lent:
        yield nothing_lent(data_dir, damaged=status.aside > 0)
    found = Counter(f"{state_of(each)}: {each.words}" for each in status.lent if each.fault is None)
    for what, number in sorted(found.items()):
        yield f"{number} lent, {what}"
    if status.needs:
        yield "Needs attention:"
    for need in status.needs:
        yield f"  {need.about}: {need.words}"
    waiting = [each for each in status.lent if each.needs_somebody]
    yield from commands(waiting, status.aside, data_dir)


def _as_json(status: Status) -> dict[str, Any]:
    found = Counter(each.condition for each in status.lent)
    return {
        "agent": status.agent,
        "attachments": {condition.value: found[condition] for condition in Condition},
        "needs": [
            {"subject": need.subject, "device": need.device, "words": need.words}
            for need in status.needs
        ],
    }
