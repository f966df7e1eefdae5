"""`amdcni attachments`: where each lent NIC is, and what will be returned."""

import argparse
from collections.abc import Iterator, Sequence
from typing import IO, Any

import attrs

from amdcni.cli.node import nothing_lent, on_this_node, read_records, set_aside_in
from amdcni.cli.printing import make_table, print_json, print_line, print_rows
from amdcni.core import capture
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition
from amdcni.core.errors import UnknownAttachment
from amdcni.core.formats import attachment_to_json
from amdcni.core.identity import Place
from amdcni.core.mapping import sentence_on
from amdcni.core.names import DeviceKey
from amdcni.core.nics import Records
from amdcni.effects.node import LinuxNode
from amdcni.verbs.healing import look_at


@attrs.frozen
class Known:
    """What is known from one file of the state folder: a record and its condition, or a `fault`.

    `place` is where the netdev is, if it is neither on the host nor in its pod.
    """

    key: DeviceKey
    record: Attachment | None = None
    condition: Condition | None = None
    fault: str | None = None
    place: Place | None = None

    @property
    def is_orphan(self) -> bool:
        """Whether no pod has the device and no call is at work to return it to the host."""
        of_a_pod = (Condition.HELD, Condition.RESET)
        return self.condition not in (None, *of_a_pod, Condition.UNFINISHED)


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Show all attachments or those that match; 1 if a record could not be read or none matches."""
    with on_this_node(options.data_dir, "attachments", stderr, looks_only=True) as node:
        records = read_records(node)
        known = [_placed(each, node) for each in look_at_all(records, node)]
        aside = [fault for key, fault in set_aside_in(node.store) if key not in records.faults]
    if options.show is not None:
        return _show(matching(options.show, known, aside), options.json, stdout)
    if options.json:
        print_json([as_json(each) for each in known], stdout)
    else:
        if known or not records.lent_by_go:
            print_table(known, options.data_dir, stdout, damaged=bool(aside))
        for mapping in records.lent_by_go:
            print_line(sentence_on(mapping), stdout)
        for fault in aside:
            print_line(fault, stdout)
    return 1 if any(each.fault for each in known) else 0


def read_all(node: LinuxNode) -> tuple[Known, ...]:
    """Every record with its condition; nothing is changed.

    Raises: StateFailure, KernelRefused.
    """
    return look_at_all(read_records(node), node)


def look_at_all(records: Records, node: LinuxNode) -> tuple[Known, ...]:
    """The condition of every attachment in `records`; raises KernelRefused."""
    found = look_at(records.read, node)
    known = [Known(each.record.key, each.record, each.condition) for each in found]
    known += [Known(key, fault=fault) for key, fault in records.faults.items()]
    return tuple(sorted(known, key=lambda each: str(each.key)))


def _placed(known: Known, node: LinuxNode) -> Known:
    """The same, with the place of its netdev if that is missing."""
    if known.record is None or known.condition is not Condition.MISSING:
        return known
    return attrs.evolve(known, place=node.find_elsewhere(known.record))


def matching(text: str, known: Sequence[Known], aside: Sequence[str] = ()) -> tuple[Known, ...]:
    """Those whose device, name on the host or in the pod, or start of the container ID is `text`.

    `aside` are sentences on damaged records, one of which may be meant.

    Raises: UnknownAttachment if there are none.
    """
    found = tuple(each for each in known if _fits(text, each))
    if not found:
        devices = ", ".join(str(each.key) for each in known) or "none"
        more = "".join(f"; {fault}" for fault in aside)
        raise UnknownAttachment(
            f"no attachment is known as {text!r}; the devices are {devices}{more}"
        )
    return found


def _fits(text: str, known: Known) -> bool:
    record = known.record
    in_pod = record is not None and (
        record.id.ifname == text or (text and record.id.container_id.startswith(text))
    )
    return bool(in_pod) or names_device(text, known)


def names_device(text: str, known: Known) -> bool:
    """Whether `text` is the device, or the name that its netdev has on the host."""
    if text in (str(known.key), known.key.lock_name):
        return True
    return known.record is not None and known.record.host_ifname == text


# ---- all


def as_json(known: Known) -> dict[str, Any]:
    """A row for programs; for a record that could not be read, only the device and the fault."""
    record, condition = known.record, known.condition
    return {
        "device": str(known.key),
        "container_id": record and record.id.container_id,
        "ifname": record and record.id.ifname,
        "netns": record and record.netns.path,
        "network": record and record.network,
        "phase": record and record.phase.value,
        "found": condition and condition.value,
        "orphan": known.is_orphan,
        "since": record and record.since,
        "host_ifname": record and record.host_ifname,
        "host_addresses": [] if record is None else list(record.host_addresses),
        "in_netns": known.place and known.place.netns,
        "fault": known.fault,
    }


def print_table(
    known: Sequence[Known], data_dir: str | None, stdout: IO[str], *, damaged: bool
) -> None:
    """Print a row for each attachment, or one sentence if there is none."""
    if not known:
        print_line(nothing_lent(data_dir, damaged=damaged), stdout)
        return
    headings = ("device", "in the pod", "container", "since", "state", "returns as")
    print_rows(make_table("NICs lent to pods", *headings), list(map(_row, known)), stdout)


def _row(known: Known) -> tuple[str, ...]:
    record = known.record
    if record is None:
        return (str(known.key), "", "", "", known.fault or "", "")
    return (
        str(known.key),
        f"{record.id.ifname}\n{record.netns.path}",
        f"{record.id.container_id[:13]}\n{record.network}",
        record.since,
        _state(known, record),
        "\n".join([record.host_ifname or "(no netdev)", *record.host_addresses]),
    )


def _state(known: Known, record: Attachment) -> str:
    match known.condition:
        case None | Condition.HELD:
            return record.phase.value
        case Condition.UNFINISHED:
            return f"{record.phase.value}: a call is at work, or was interrupted"
        case Condition.RESET:
            return f"{record.phase.value}: {known.condition.about.words}"
        case Condition.MISSING if known.place is not None:
            return f"orphan: it is in {known.place.netns} as {known.place.ifname}"
        case condition:
            return f"orphan: {condition.about.words}"


# ---- one


def _show(known: Sequence[Known], as_objects: bool, stdout: IO[str]) -> int:
    if as_objects:
        print_json([_shown_as_json(each) for each in known], stdout)
    else:
        for each in known:
            for line in _lines(each):
                print_line(line, stdout)
    return 1 if any(each.fault for each in known) else 0


def _shown_as_json(known: Known) -> dict[str, Any]:
    record = known.record
    return {
        "device": str(known.key),
        "found": known.condition and known.condition.value,
        "orphan": known.is_orphan,
        "record": None if record is None else attachment_to_json(record),
        "fault": known.fault,
    }


def _lines(known: Known) -> Iterator[str]:
    """Everything known about an attachment, for people."""
    yield str(known.key)
    record = known.record
    if record is None:
        yield f"  {known.fault}"
        return
    yield f"  lent to      container {record.id.container_id}, as {record.id.ifname}"
    yield f"  in           {record.netns.path}"
    yield f"  by           network {record.network}, mover {record.mover}"
    yield f"  since        {record.since}"
    yield f"  state        {_state(known, record)}"
    if known.place is not None:
        yield f"  what next    {known.place.way_home('amdcni heal')}"
    elif known.condition is not None:
        yield f"  what next    {known.condition.about.next}"
    if record.captured is None:
        yield "  returns as   nothing: it has no netdev"
    else:
        yield f"  returns as   {record.captured.ifname}, with"
        yield from (f"    {line}" for line in capture.lines(record.captured))
