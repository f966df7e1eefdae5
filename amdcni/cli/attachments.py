"""`amdcni attachments`: which pod has which NIC, since when, and what will be returned."""

import argparse
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

from amdcni.cli import show
from amdcni.cli.columns import Column, Row
from amdcni.cli.known import (
    HOLDER,
    IDENTITY,
    Known,
    age_of,
    holder_cells,
    identity_cells,
    look_at_all,
    needs,
    state_of,
)
from amdcni.cli.listing import Listing, serve_listing
from amdcni.cli.node import nothing_lent, on_this_node, read_records, set_aside_in
from amdcni.core.mapping import sentence_on
from amdcni.core.nics import Records
from amdcni.ports import OpenNode


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Show all attachments, or one; 1 if a record could not be read, or none is meant."""
    if options.id is not None:
        return show.serve(options, stdout, stderr)
    return serve_listing(lambda: look(options, stderr), options, stdout)


def look(options: argparse.Namespace, stderr: IO[str]) -> Listing:
    """All attachments as they are now; nothing is changed."""
    with on_this_node(options.data_dir, "attachments", stderr, looks_only=True) as node:
        return listing_of(node, options)


def listing_of(node: OpenNode, options: argparse.Namespace) -> Listing:
    """All attachments of a node."""
    records = read_records(node)
    known = look_at_all(records, node)
    aside = [fault for _, fault in set_aside_in(node.store)]
    if options.namespace is not None:
        known = tuple(each for each in known if is_in(options.namespace, each))
    return Listing(
        COLUMNS,
        tuple(map(row_of, known)),
        tuple(_notes(known, records, aside, options)),
        [as_json(each) for each in known],
        1 if any(each.fault for each in known) else 0,
    )


def is_in(namespace: str, known: Known) -> bool:
    """Whether a pod of the namespace has it, or may have: an unreadable record does not say."""
    if known.record is None:
        return True
    return (known.record.pod or "").partition("/")[0] == namespace


def _notes(
    known: Sequence[Known], records: Records, aside: Sequence[str], options: argparse.Namespace
) -> Iterator[str]:
    if not (known or records.lent_by_go):
        damaged = bool(aside)
        yield nothing_lent(options.data_dir, damaged=damaged, namespace=options.namespace)
    yield from map(sentence_on, records.lent_by_go)
    yield from needs(known, aside, options.data_dir)


COLUMNS: Final = (
    *HOLDER,
    Column("IFNAME", 8),
    Column("STATE", 10),
    Column("AGE", 4, passes=True),
    *IDENTITY,
    Column("SINCE", 20, only_wide=True),
    Column("RETURNS", 20, only_wide=True),
)


def row_of(known: Known) -> Row:
    """The line of an attachment."""
    record = known.record
    cells = (*holder_cells(known.key, record), "" if record is None else record.id.ifname)
    if record is None:
        return Row(str(known.key), (*cells, state_of(known), "", *identity_cells(None), "", ""))
    since, addresses = record.since, ",".join(record.host_addresses)
    more = (*identity_cells(record), since, addresses)
    return Row(str(known.key), (*cells, state_of(known), age_of(since), *more))


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
