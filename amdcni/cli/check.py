"""`amdcni check`: whether every lent NIC is in its pod and healthy, as its ADD promised."""

import argparse
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

import attrs

from amdcni.cli.attachments import is_in
from amdcni.cli.columns import Column, Row, State, Tone
from amdcni.cli.known import HOLDER, IDENTITY, Known, holder_cells, identity_cells, read_all
from amdcni.cli.listing import Listing, serve_listing
from amdcni.cli.node import nothing_lent, on_this_node, set_aside_in
from amdcni.core.check import lacking_routes, problems_of, promised_by, routes_of
from amdcni.core.condition import Condition, Seen
from amdcni.ports import OpenNode
from amdcni.verbs.settling import find_settled


@attrs.frozen
class Checked:
    """An attachment, and everything that is wrong with it, one readable line each.

    Nothing is, as long as a call is working on it.
    """

    known: Known
    problems: tuple[str, ...]


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Check every attachment; 1 if something is wrong with one."""
    return serve_listing(lambda: look(options, stderr), options, stdout)


def look(options: argparse.Namespace, stderr: IO[str]) -> Listing:
    """Every attachment, checked now; nothing is changed."""
    with on_this_node(options.data_dir, "check", stderr, looks_only=True) as node:
        return listing_of(node, options)


def listing_of(node: OpenNode, options: argparse.Namespace) -> Listing:
    """Every attachment of a node, checked."""
    namespace = options.namespace
    aside = [Known(key, fault=fault) for key, fault in set_aside_in(node.store)]
    known = [*read_all(node), *aside]
    chosen = [each for each in known if namespace is None or is_in(namespace, each)]
    checked = [Checked(each, _problems(each, node)) for each in chosen]
    return Listing(
        COLUMNS,
        tuple(map(row_of, checked)),
        tuple(_notes(checked, options)),
        [_as_json(each) for each in checked],
        1 if any(each.problems for each in checked) else 0,
    )


def _problems(known: Known, node: OpenNode) -> tuple[str, ...]:
    record = known.record
    if known.busy:
        return ()
    if record is None or known.seen != Seen(Condition.HELD):
        return (known.words,)
    pod = find_settled(lambda: node.find_pod(record.netns), record, promised_by(record), node)
    if pod is None or record.result is None:
        return (Condition.UNFINISHED.about.words,)
    problems = problems_of(record, pod)
    if not problems and (routes := routes_of(record)):
        problems = lacking_routes(routes, node.routes_in(pod.path, routes), record)
    return tuple(problems)


def _as_json(checked: Checked) -> dict[str, Any]:
    record = checked.known.record
    return {
        "device": str(checked.known.key),
        "container_id": record and record.id.container_id,
        "ifname": record and record.id.ifname,
        "problems": list(checked.problems),
    }


COLUMNS: Final = (*HOLDER, Column("IFNAME", 8), Column("HEALTH", 7), *IDENTITY)


def row_of(checked: Checked) -> Row:
    """The line of an attachment."""
    key, record = checked.known.key, checked.known.record
    ifname = "" if record is None else record.id.ifname
    cells = (*holder_cells(key, record), ifname, _health_of(checked), *identity_cells(record))
    return Row(str(key), cells)


def _health_of(checked: Checked) -> State:
    if checked.known.busy:
        return State("busy", Tone.CHANGING)
    return State("faulty", Tone.BAD) if checked.problems else State("healthy", Tone.GOOD)


def _notes(checked: Sequence[Checked], options: argparse.Namespace) -> Iterator[str]:
    if not checked:
        yield nothing_lent(options.data_dir, namespace=options.namespace)
    for each in checked:
        yield from (f"{each.known.about}: {problem}" for problem in each.problems)
    faulty = sum(bool(each.problems) for each in checked)
    if faulty:
        number = "1 NIC is" if faulty == 1 else f"{faulty} NICs are"
        yield f"{number} faulty; what to do: amdcni show DEVICE"
