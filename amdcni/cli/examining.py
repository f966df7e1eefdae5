"""What both `amdcni doctor` and `amdcni status` find on this node, in the same words."""

import argparse
import os
import sysconfig
from collections.abc import Iterator, Mapping

import attrs

from amdcni.core import diagnosis
from amdcni.core.diagnosis import Finding
from amdcni.core.kubernetes.installation import BIN_DIR, ConfDir, find_bin_dir
from amdcni.core.kubernetes.review import LENDER
from amdcni.core.places import find_data_dir
from amdcni.core.policy import Naming, Policy
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.effects import survey, trust
from amdcni.effects.installing.look import find_bin_dir_of_this_process, find_tree_of_this_process
from amdcni.effects.stores import Stores
from amdcni.ports import Node


@attrs.frozen
class StateFolders:
    """The state folders that an option leads to: those `there`, and by their index entry, `lost`.

    The first of `there` is the one in which calls begin, even if it does not exist yet.
    """

    there: tuple[str, ...]
    lost: Mapping[str, str]


def state_folders(data_dir: str | None) -> StateFolders:
    """The given state folder alone, or the default one and every other that held records."""
    if data_dir is not None:
        return StateFolders((data_dir,), {})
    indexed = Stores(DEFAULT_DATA_DIR, lambda *_, **__: None).indexed()
    lost = {entry: path for entry, path in indexed.items() if not trust.is_roots_folder(path)}
    there = [path for entry, path in indexed.items() if entry not in lost]
    return StateFolders(tuple(dict.fromkeys((DEFAULT_DATA_DIR, *there))), lost)


def examine_state(path: str, policy: Policy | None) -> Finding:
    """Whether a record could be written to a state folder, and nobody else could exchange it.

    `policy` is None if this user may not read it.
    """
    folder, root = survey.read_folder(path), os.geteuid() == 0
    place = find_data_dir(path, policy or Policy())
    if root and place is not None:
        folder = attrs.evolve(folder, exposed=trust.fault_of_folder(place))
    return diagnosis.judge_state(folder, root=root)


def examine_lost(folders: StateFolders) -> Iterator[Finding]:
    """A failure for each folder that held records and is not there."""
    for entry, path in folders.lost.items():
        yield diagnosis.judge_lost_folder(path, entry)


def examine_checkpoint(policy: Policy | None, node: Node) -> Iterator[Finding]:
    """Whether the kubelet's checkpoint can be read, if the policy makes that necessary."""
    if policy is not None and policy.naming is Naming.ALLOCATED:
        readable = node.allocated_to("") is not None
        yield diagnosis.judge_checkpoint(readable=readable, root=os.geteuid() == 0)


# ---- the executable


@attrs.frozen
class BinDirs:
    """The folders, separated by colons, in which Multus looks for plugins.

    They are `certain` if something says so, and only usual otherwise.
    """

    path: str
    certain: bool

    @property
    def folders(self) -> tuple[str, ...]:
        """Each folder."""
        return tuple(path for path in self.path.split(":") if path)


def bin_dirs_of(options: argparse.Namespace, conf_dir: ConfDir) -> BinDirs:
    """Those of the option, of Multus, of this installation, or the usual one."""
    installed = find_bin_dir_of_this_process()
    here = None if installed is None else str(installed)
    known = options.bin_dir or find_bin_dir(conf_dir) or here
    return BinDirs(known or BIN_DIR, certain=known is not None)


def own_executable() -> str | None:
    """The executable of this installation; None if this is a tree, which has to be installed."""
    if find_tree_of_this_process() is not None:
        return None
    return f"{sysconfig.get_path('scripts')}/{LENDER}"


def examine_executable(dirs: BinDirs) -> Iterator[Finding]:
    """Whether the executable is in the binDir and is this plugin.

    Nothing is found of one that is absent if it may be in another folder.
    """
    plugin = survey.ask_plugin(LENDER, dirs.folders, os.environ)
    if plugin.path is not None or dirs.certain:
        yield diagnosis.judge_plugin(plugin, own_executable())
