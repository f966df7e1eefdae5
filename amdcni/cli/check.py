"""`amdcni check`: whether every lent NIC is in its pod and healthy, as its ADD promised."""

import argparse
from typing import IO, Any

import attrs

from amdcni.cli.attachments import Known, read_all
from amdcni.cli.node import nothing_lent, on_this_node, set_aside_in
from amdcni.cli.printing import make_table, print_json, print_line, print_rows
from amdcni.core.check import lacking_routes, problems_of, promised_by, routes_of
from amdcni.core.condition import Condition
from amdcni.effects.node import LinuxNode
from amdcni.verbs.settling import find_settled


@attrs.frozen
class Checked:
    """An attachment, and everything that is wrong with it, one readable line each."""

    known: Known
    problems: tuple[str, ...]


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Check every attachment; 1 if something is wrong with one."""
    with on_this_node(options.data_dir, "check", stderr, looks_only=True) as node:
        checked = [Checked(known, _problems(known, node)) for known in read_all(node)]
        aside = [Known(key, fault=fault) for key, fault in set_aside_in(node.store)]
        checked += [Checked(known, _problems(known, node)) for known in aside]
    if options.json:
        print_json([_as_json(each) for each in checked], stdout)
    elif not checked:
        print_line(nothing_lent(options.data_dir), stdout)
    else:
        table = make_table("NICs lent to pods", "device", "lent to", "state")
        print_rows(table, [_row(each) for each in checked], stdout)
    return 1 if any(each.problems for each in checked) else 0


def _problems(known: Known, node: LinuxNode) -> tuple[str, ...]:
    record = known.record
    if record is None or known.condition is None:
        return (str(known.fault),)
    if known.condition is not Condition.HELD:
        return (known.condition.about.words,)
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


def _row(checked: Checked) -> tuple[str, ...]:
    record = checked.known.record
    holder = "" if record is None else str(record.id)
    return (str(checked.known.key), holder, "\n".join(checked.problems) or "healthy")
