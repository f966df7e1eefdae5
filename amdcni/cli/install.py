"""`amdcni install`: puts this version into the folder of the node's plugins."""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Final

import attrs

from amdcni.cli.printing import for_programs, print_sentence, print_value
from amdcni.cli.progress import Tell, counted, progress_on
from amdcni.core.errors import InstallFailed
from amdcni.core.install.plans import InstallPlan, plan_install
from amdcni.core.install.removal import plan_cleanup
from amdcni.core.install.seen import Seen
from amdcni.core.install.steps import MakeFolder, PutFile, PutLink, Remove, RemoveFolder, Step
from amdcni.core.install.tree import Manifest, TreeName, is_older
from amdcni.effects.installing.look import (
    locked,
    look,
    read_tree,
    require_executable,
    require_writable,
    tree_of_this_process,
)
from amdcni.effects.installing.perform import perform
from amdcni.effects.installing.processes import users_of

_FEW: Final = 3


@attrs.frozen
class Installation:
    """What an installation did, or would do; `was` is the tree that was in place before."""

    manifest: Manifest
    was: TreeName | None
    plan: InstallPlan


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Install a tree, or show how; 0."""
    tree = tree_of_this_process() if options.tree is None else Path(options.tree)
    manifest, bin_dir = read_tree(tree), Path(options.bin_dir)
    exposed = require_writable(bin_dir)
    require_executable(bin_dir, os.uname().machine, manifest)
    if exposed is not None:
        stderr.write(f"amdcni: {exposed}, so others than root may exchange amd-host-device\n")
    if options.dry_run:
        done = _planned(manifest, bin_dir)
    else:
        with locked(bin_dir):
            done = _planned(manifest, bin_dir)
            with progress_on(stderr) as tell:
                _perform(done, bin_dir, tree, tell)
    if for_programs(options):
        print_value(_as_json(done, options), options, stdout)
    else:
        for line in _lines(done, options):
            print_sentence(line, stdout, indent=2)
    return 0


def _planned(manifest: Manifest, bin_dir: Path) -> Installation:
    seen = look(bin_dir)
    return Installation(manifest, seen.in_place, plan_install(manifest, seen, _in_use(seen)))


def _in_use(seen: Seen) -> frozenset[TreeName] | None:
    users = users_of(seen.trees, seen.launchers)
    return None if users is None else frozenset(user.tree for user in users)


def _perform(done: Installation, bin_dir: Path, tree: Path, tell: Tell) -> None:
    """Perform the plan; what a failed installation has written does not fill the disk."""
    try:
        perform(counted("Installing", done.plan.steps, tell), bin_dir, tree)
    except InstallFailed:
        with suppress(InstallFailed):
            perform(plan_cleanup(done.manifest, look(bin_dir)), bin_dir)
        raise


def _lines(done: Installation, options: argparse.Namespace) -> Iterator[str]:
    name, was = done.manifest.name, done.was
    if options.dry_run:
        yield from (f"would {words}" for words in in_words(done.plan.steps))
    if was is not None and is_older(done.manifest.version, was.rpartition("-")[0]):
        yield f"{name} is older than {was}; it leaves records of a newer format as they are."
    yield from (f"{note}." for note in done.plan.notes)
    if not done.plan.steps:
        yield f"{name} is installed in {options.bin_dir} already; there is nothing to do."
    elif not options.dry_run:
        instead = f", instead of {was}" if was not in (None, name) else ""
        yield f"{name} is installed in {options.bin_dir}{instead}."


def in_words(steps: Sequence[Step]) -> Iterator[str]:
    """The steps in words, many of one kind counted."""
    kinds = {PutFile: "put", PutLink: "put", MakeFolder: "put", Remove: "remove"}
    kinds[RemoveFolder] = "remove"
    for verb, several in groupby(steps, lambda step: kinds.get(type(step))):
        group = list(several)
        if verb is None or len(group) <= _FEW:
            yield from (step.describe() for step in group)
        else:
            folders = sum(isinstance(step, MakeFolder | RemoveFolder) for step in group)
            yield f"{verb} {len(group) - folders} files and {folders} folders"


def _as_json(done: Installation, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "bin_dir": options.bin_dir,
        "dry_run": options.dry_run,
        "installed": done.manifest.name,
        "before": done.was,
        **steps_as_json(done.plan.steps, done.plan.notes),
    }


def steps_as_json(steps: Sequence[Step], notes: Sequence[str]) -> dict[str, Any]:
    """Steps and notes for programs."""
    return {"steps": [step.describe() for step in steps], "notes": list(notes)}
