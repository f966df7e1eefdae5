"""`amdcni heal`: returns what no call will return any more, and reports what it found."""

import argparse
from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any, Final

from amdcni.cli.columns import Column, Row, State, Tone
from amdcni.cli.known import (
    HOLDER,
    IDENTITY,
    Known,
    about,
    commands,
    find_named,
    holder_cells,
    identity_cells,
    look_at_all,
    state_of,
)
from amdcni.cli.listing import Listing, print_listing
from amdcni.cli.node import nothing_lent, on_this_node, read_records, read_store, set_aside_in
from amdcni.cli.progress import Tell, progress_on
from amdcni.core.condition import Condition, Seen
from amdcni.core.names import DeviceKey
from amdcni.ports import OpenNode
from amdcni.verbs import healing
from amdcni.verbs.healing import Finding

_TOLD: Final = frozenset({"healed", "not-healed", "outdated", "reattached"})
"""What the table says, so that nobody has to read it a second time in a line of the log."""

Fault = tuple[DeviceKey, str]
"""A damaged record: its device, and what is wrong, in a sentence."""


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Heal, and report what was found; 1 if something could not be healed, or needs a person."""
    on_node = on_this_node(options.data_dir, "heal", stderr, looks_only=options.dry_run, told=_TOLD)
    with on_node as node, progress_on(stderr) as tell:
        listing = heal(node, options, tell)
    print_listing(listing, options, stdout)
    return listing.status


def heal(node: OpenNode, options: argparse.Namespace, tell: Tell = lambda _: None) -> Listing:
    """Heal what is meant, or only look; what was found and done."""
    spared = _spared(options.id, node)
    findings = healing.heal(
        node,
        except_for=spared,
        dry_run=options.dry_run,
        tell=lambda record, number, count: tell(
            f"Healing ... {number}/{count}: {about(record.key, record)}"
        ),
    )
    faults = [*read_store(node.store).faults.items(), *set_aside_in(node.store)]
    faults = [each for each in faults if each[0] not in spared]
    return listing_of(findings, faults, options.data_dir, dry_run=options.dry_run)


def _spared(text: str | None, node: OpenNode) -> frozenset[DeviceKey]:
    """The devices that are not meant; raises UnknownAttachment if none is."""
    if text is None:
        return frozenset()
    records = read_records(node)
    aside = dict(set_aside_in(node.store))
    # Whoever names a damaged record wants to hear of it.
    damaged = [Known(key, fault=fault) for key, fault in aside.items() if key not in records.faults]
    known = [*look_at_all(records, node), *damaged]
    meant = {each.key for each in find_named(text, known)}
    return frozenset(each.key for each in known if each.key not in meant)


def listing_of(
    findings: Sequence[Finding],
    faults: Sequence[Fault] = (),
    data_dir: str | None = None,
    *,
    dry_run: bool,
) -> Listing:
    """What was found and done, or would be."""
    done = Column("WOULD BE" if dry_run else "DONE", 14)
    failed = bool(faults) or any(each.failure is not None for each in findings)
    return Listing(
        (*HOLDER, Column("STATE", 10), done, *IDENTITY),
        tuple(map(row_of, findings)),
        tuple(_notes(findings, faults, data_dir, dry_run=dry_run)),
        [*map(as_json, findings), *map(_fault_as_json, faults)],
        1 if failed else 0,
    )


def _fault_as_json(fault: Fault) -> dict[str, Any]:
    """The row of a damaged record, of which only the device is known."""
    keys = ("container_id", "ifname", "network", "host_ifname", "found")
    device, failure = fault
    nothing = {"healed": False, "busy": False}
    return {"device": str(device), **dict.fromkeys(keys), **nothing, "failure": failure}


def as_json(finding: Finding) -> dict[str, Any]:
    """A finding for programs."""
    record = finding.record
    return {
        "device": str(record.key),
        "container_id": record.id.container_id,
        "ifname": record.id.ifname,
        "network": record.network,
        "host_ifname": record.host_ifname,
        "found": finding.condition.value,
        "healed": finding.healed,
        "busy": finding.busy,
        "failure": finding.failure,
    }


def row_of(finding: Finding) -> Row:
    """The line of an attachment: what was found, and what was done about it."""
    record = finding.record
    state = state_of(_known(finding))
    cells = (*holder_cells(record.key, record), state, done_about(finding))
    return Row(str(record.key), (*cells, *identity_cells(record)))


def _known(finding: Finding) -> Known:
    return Known(finding.record.key, finding.record, finding.seen)


_NOTHING: Final = State("nothing")


def done_about(finding: Finding) -> State:
    """What was done, or in a dry run would be."""
    if finding.failure is not None:
        return State("not healed", Tone.BAD)
    if finding.busy:
        return State("left to a call", Tone.CHANGING)
    done = finding.condition.about.healed
    return State(done, Tone.GOOD) if finding.seen.is_healable else _NOTHING


def _notes(
    findings: Collection[Finding],
    faults: Collection[Fault],
    data_dir: str | None,
    *,
    dry_run: bool,
) -> Iterator[str]:
    if not (findings or faults):
        yield f"{nothing_lent(data_dir)} Nothing to heal."
    for finding in findings:
        known = _known(finding)
        if finding.failure is not None:
            not_done = "would not be" if dry_run else "was not"
            yield f"{known.about} {not_done} healed: {finding.failure}"
        elif finding.seen != Seen(Condition.HELD):
            yield f"{known.about}: {known.words}"
    yield from (fault for _, fault in faults)
    left = [_known(each) for each in findings if each.needs_somebody]
    # What healing has just failed to do, it is not asked for again.
    by_healing = [
        _known(each)
        for each in findings
        if dry_run and each.needs_somebody and each.seen.is_healable and each.failure is None
    ]
    yield from commands(by_healing, len(left) - len(by_healing) + len(faults), data_dir)
