"""`amdcni show`: where one NIC is, whose it is, and what the host gets back at the end."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Final

from amdcni.cli.known import Known, age_of, find_named, look_at_all, state_of
from amdcni.cli.node import on_this_node, read_records, set_aside_in
from amdcni.cli.printing import for_programs, print_line, print_sentence, print_value
from amdcni.core import capture
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.condition import Condition, Seen
from amdcni.core.formats import attachment_to_json
from amdcni.ports import OpenNode
from amdcni.verbs.comparing import differences_now

_NEXT: Final = "What next: "

_HANGING: Final = 4
"""How far what does not fit into a line is indented in the next one."""


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Show all that is known of what is meant; 1 if a record could not be read."""
    programs = for_programs(options)
    with on_this_node(options.data_dir, "attachments", stderr, looks_only=True) as node:
        found = find_meant(options.id, node)
        differ = [() if programs else _differences(each, node) for each in found]
    if programs:
        print_value([as_json(each) for each in found], options, stdout)
    for number, each in enumerate(() if programs else found):
        if number:
            print_line("", stdout)
        for sentence in answer(each):
            print_sentence(sentence, stdout, indent=2)
        for line in lines(each, differ[number], everything=options.all):
            if line.startswith(_NEXT):
                # On one line, so that the command in it can be copied.
                print_line(line, stdout)
            else:
                print_sentence(line, stdout, indent=_HANGING)
    return 1 if any(each.fault for each in found) else 0


def find_meant(text: str, node: OpenNode) -> tuple[Known, ...]:
    """What is known of all that `text` names; raises UnknownAttachment as `find_named` does."""
    records = read_records(node)
    aside = [fault for _, fault in set_aside_in(node.store)]
    return find_named(text, look_at_all(records, node), aside)


def _differences(known: Known, node: OpenNode) -> tuple[str, ...]:
    return () if known.record is None else tuple(differences_now(known.record, node))


def as_json(known: Known) -> dict[str, Any]:
    """What is known, for programs, with the record itself."""
    record = known.record
    return {
        "device": str(known.key),
        "found": known.condition and known.condition.value,
        "orphan": known.is_orphan,
        "record": None if record is None else attachment_to_json(record),
        "fault": known.fault,
    }


def answer(known: Known) -> Iterator[str]:
    """Where it is, whose it is, what comes next and what comes back, a sentence each."""
    record = known.record
    if record is None:
        yield f"{known.key}: {known.fault}"
        yield f"{_NEXT}amdcni doctor says what to do."
        return
    age, whom = age_of(record.since), f"{record.lent_to} as {record.id.ifname}"
    if known.seen == Seen(Condition.HELD):
        yield f"{known.about} is in {whom}, for {age}."
    else:
        yield f"{known.about} was lent to {whom}, {age} ago; {known.words}."
    yield f"Comes back: {_summary(record, known.condition)}."
    if known.place is None and known.seen is not None:
        yield f"{_NEXT}{known.seen.next}."


def _summary(record: Attachment, condition: Condition | None) -> str:
    if record.captured is None:
        return "nothing, since it has no netdev"
    if condition is Condition.OUTDATED:
        return "nothing, since the boot has configured the host anew"
    return f"{record.captured.ifname}, with {', '.join(capture.summary(record.captured))}"


def lines(known: Known, differ: Sequence[str], *, everything: bool) -> Iterator[str]:
    """Everything known about an attachment, for people, with what differs from it now."""
    record = known.record
    if record is None:
        return
    if known.place is not None and known.seen is not None:
        yield f"{_NEXT}{known.seen.next}"
    yield ""
    yield f"  state      {state_of(known)}: {known.words}"
    yield f"  container  {record.id.container_id if everything else record.id.short}"
    yield f"  in         {record.netns.path}"
    yield f"  by         network {record.network}, mover {record.mover}"
    yield f"  since      {record.since}"
    if record.captured is not None:
        yield from _returning(record.captured, everything=everything)
    if differ:
        yield ""
        yield f"{len(differ)} of that {'is' if len(differ) == 1 else 'are'} different now:"
        yield from (f"  {each}" for each in differ)


def _returning(captured: Captured, *, everything: bool) -> Iterator[str]:
    yield ""
    yield f"Comes back as {captured.ifname}, with"
    hidden = 0
    for line in capture.lines(captured):
        if everything or not is_usual(line):
            yield f"  {line}"
        else:
            hidden += 1
    if hidden:
        yield f"  and {hidden} values that are usual; --all shows them"


def is_usual(line: str) -> bool:
    """Whether a kept value is what the kernel gives a new netdev in its initial namespace.

    In others, earlier versions have kept all that is about neighbours, changed or not.
    """
    name, _, value = line.removeprefix("sysctl ").rpartition(" = ")
    family, _, name = name.rpartition("/")
    if line.startswith("sysctl ") and family in ("ipv4/neigh", "ipv6/neigh"):
        return _USUAL_NEIGH.get(name) == value or (family, name, value) in _USUAL_LOCKTIMES
    return line in _USUAL


_USUAL: Final = ("group 0", "txqlen 1000", "sysctl ipv6/conf/accept_dad = 1")

_USUAL_LOCKTIMES: Final = (("ipv4/neigh", "locktime", "100"), ("ipv6/neigh", "locktime", "0"))

_USUAL_NEIGH: Final[Mapping[str, str]] = {
    "anycast_delay": "100",
    "app_solicit": "0",
    "base_reachable_time_ms": "30000",
    "delay_first_probe_time": "5",
    "gc_stale_time": "60",
    "interval_probe_time_ms": "5000",
    "mcast_resolicit": "0",
    "mcast_solicit": "3",
    "proxy_delay": "80",
    "proxy_qlen": "64",
    "retrans_time_ms": "1000",
    "ucast_solicit": "3",
    "unres_qlen": "101",
    "unres_qlen_bytes": "212992",
}
"""The kernel's defaults (net/ipv4/arp.c and net/ipv6/ndisc.c), times in hundredths of a second."""
