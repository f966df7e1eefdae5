"""`amdcni uninstall`: removes what `amdcni install` has installed.

It may run from the very tree that it removes, so whatever it needs after the first removal is
imported before.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import attrs

from amdcni.cli.install import in_words, steps_as_json
from amdcni.cli.known import about
from amdcni.cli.node import on_this_node, read_records, read_store, set_aside_in
from amdcni.cli.printing import for_programs, load_for, print_sentence, print_value
from amdcni.cli.progress import counted, progress_on
from amdcni.core.errors import AmdcniError, InstallFailed
from amdcni.core.install.plans import switch_to
from amdcni.core.install.removal import RemovalPlan, plan_uninstall
from amdcni.core.install.seen import Seen, path_of
from amdcni.core.install.steps import RemoveFolder, Step
from amdcni.core.install.tree import TreeName
from amdcni.core.mapping import sentence_on
from amdcni.core.nics import Records
from amdcni.effects.installing.look import locked, look, require_writable
from amdcni.effects.installing.perform import perform
from amdcni.effects.installing.processes import is_on_the_host, users_of
from amdcni.effects.stores import Stores
from amdcni_agent.asking import ask
from amdcni_shim.client import SOCKET_PATH


@attrs.frozen
class _Removal:
    """What a removal did, or would do, with what was there before."""

    seen: Seen
    plan: RemovalPlan

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps."""
        return (*self.plan.withdrawal, *self.plan.rest)

    @property
    def trees(self) -> tuple[TreeName, ...]:
        """The trees whose folders go, each with all that is in it."""
        gone = {step.path for step in self.steps if isinstance(step, RemoveFolder)}
        return tuple(name for name in self.seen.trees if path_of(name) in gone)


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Remove the installation, or show how; 1 if something of it stays."""
    load_for(options)
    bin_dir = Path(options.bin_dir)
    require_writable(bin_dir)
    if options.dry_run:
        done = _planned(bin_dir, options, stderr)
    else:
        with locked(bin_dir):
            done = _planned(bin_dir, options, stderr)
            _perform(done, bin_dir, options, stderr)
    if for_programs(options):
        print_value(_as_json(done, options), options, stdout)
    else:
        for line in _lines(done, options):
            print_sentence(line, stdout, indent=2)
    return 1 if done.plan.notes else 0


def _planned(bin_dir: Path, options: argparse.Namespace, stderr: IO[str]) -> _Removal:
    seen = look(bin_dir)
    plan = plan_uninstall(seen)
    if plan.withdrawal or plan.rest:
        _refuse(seen, options.data_dir, stderr)
    return _Removal(seen, plan)


def _perform(done: _Removal, bin_dir: Path, options: argparse.Namespace, stderr: IO[str]) -> None:
    """Perform the plan; a call that has begun meanwhile finds its tree, and the executable too."""
    if not done.steps:
        return
    perform(done.plan.withdrawal, bin_dir)
    try:
        # No call begins any more, so whatever has begun can be seen now.
        _refuse(done.seen, options.data_dir, stderr)
    except AmdcniError:
        _put_back(done.seen.in_place, bin_dir)
        raise
    with progress_on(stderr) as tell:
        perform(counted("Removing", done.plan.rest, tell), bin_dir)


def _put_back(was: TreeName | None, bin_dir: Path) -> None:
    seen = look(bin_dir)
    manifest = None if was is None else seen.manifests.get(was)
    if manifest is not None:
        perform(switch_to(manifest, seen), bin_dir)


# ---- what forbids it


def _refuse(seen: Seen, data_dir: str | None, stderr: IO[str]) -> None:
    """Raise InstallFailed if a NIC is lent or a process works from a tree."""
    lent = list(_lent(data_dir, stderr))
    if lent:
        raise InstallFailed(
            f"nothing is removed, because NICs are lent: {'; '.join(lent)}; let the pods end, or "
            "return the NICs with amdcni release"
        )
    users = users_of(seen.trees, seen.launchers)
    if users is None:
        # A call that changes something has a record by now, so it has been found already.
        agent = ask(os.fsdecode(SOCKET_PATH))
        at_work = [] if agent is None else [f"the agent (process {agent['pid']} of the host)"]
    else:
        at_work = [f"process {user.pid} ({user.name})" for user in users if user.pid != os.getpid()]
    if at_work:
        raise InstallFailed(
            f"nothing is removed, because {', '.join(dict.fromkeys(at_work))} works from it; wait "
            "until calls have ended, and end the agent (systemctl stop amdcni-agent, or kill)"
        )


def _lent(data_dir: str | None, stderr: IO[str]) -> Iterator[str]:
    """A sentence on each NIC that is lent, or that may be, because its record cannot be read."""
    if data_dir is None and not is_on_the_host():
        raise InstallFailed(
            "whether these are the host's files cannot be seen from here; give the host's state "
            "folder, as it is seen from here, with --data-dir"
        )
    if data_dir is not None and not os.path.isdir(data_dir):
        raise InstallFailed(
            f"{data_dir!r} is not a folder; give the host's state folder with --data-dir, and make "
            "it if nothing has been lent yet"
        )
    with on_this_node(data_dir, "uninstall", stderr, looks_only=True) as node:
        yield from _sentences(read_records(node))
        yield from (sentence for _, sentence in set_aside_in(node.store))
    if data_dir is not None:
        yield from _lent_elsewhere(data_dir)


def _lent_elsewhere(data_dir: str) -> Iterator[str]:
    """The same for the state folders that the index in `data_dir` names."""
    stores = Stores(data_dir, lambda *_, **__: None, default=data_dir, looks_only=True)
    for path in stores.indexed().values():
        if not os.path.isdir(path):
            yield f"there may be records in {path!r}, which cannot be seen from here"
    for part in stores.parts:
        if part is not stores.home:
            other = Stores(part.folder, lambda *_, **__: None, alone=True)
            yield from _sentences(read_store(other))
            yield from (sentence for _, sentence in set_aside_in(other))


def _sentences(records: Records) -> Iterator[str]:
    for record in records.read:
        yield f"{about(record.key, record)} to {record.lent_to} as {record.id.ifname}"
    for key, fault in records.faults.items():
        yield f"{key}: {fault}"
    yield from (sentence_on(mapping).rstrip(".") for mapping in records.lent_by_go)


# ---- what is said


def _lines(done: _Removal, options: argparse.Namespace) -> Iterator[str]:
    if options.dry_run:
        yield from (f"would {words}" for words in in_words(done.steps))
    yield from (f"{note}." for note in done.plan.notes)
    if not done.steps:
        yield f"Nothing is installed in {options.bin_dir}."
    elif not options.dry_run:
        what = ", ".join(done.trees) or done.seen.in_place or "what was left of an installation"
        yield f"Removed from {options.bin_dir}: {what}."


def _as_json(done: _Removal, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "bin_dir": options.bin_dir,
        "dry_run": options.dry_run,
        "removed": done.seen.in_place,
        "trees": list(done.trees),
        **steps_as_json(done.steps, done.plan.notes),
    }
