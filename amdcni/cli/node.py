"""This node, for the subcommands that read its records or change it."""

import os
from collections.abc import Callable, Collection, Iterator
from typing import IO

import attrs

from amdcni.cli.progress import erase_on
from amdcni.core.attachment import Attachment
from amdcni.core.errors import StateFailure, StateTooNew
from amdcni.core.names import DeviceKey
from amdcni.core.nics import Records
from amdcni.core.policy import Policy
from amdcni.core.request import DEFAULT_DATA_DIR, LogLevel, plugin_dirs_of
from amdcni.effects.node import LinuxNode
from amdcni.log import make_log
from amdcni.ports import Folders, OpenNode
from amdcni.verbs import taking_over


def on_this_node(
    data_dir: str | None,
    command: str,
    stderr: IO[str],
    *,
    looks_only: bool = False,
    told: Collection[str] = (),
) -> LinuxNode:
    """This node with its state in `data_dir`, as a context; its reports go to `stderr`.

    None means every known state folder.  Events that are `told` to a person anyway are left out
    where `stderr` is a terminal.
    """
    left_out = told if stderr.isatty() else ()
    log = make_log(LogLevel.WARNING, None, stderr, command=command)

    def report(event: str, **facts: object) -> None:
        if event not in left_out:
            erase_on(stderr)
            log(LogLevel.WARNING, event, **facts)

    folder, alone = data_dir or DEFAULT_DATA_DIR, data_dir is not None
    dirs = plugin_dirs_of(os.environ)
    return LinuxNode(folder, dirs, os.environ, report, looks_only=looks_only, alone=alone)


def on_this_node_silently(
    data_dir: str,
    dirs: tuple[str, ...] = (),
    report: Callable[..., None] = lambda *_, **__: None,
    *,
    alone: bool = False,
    policy: Policy | None = None,
) -> LinuxNode:
    """This node, only to be read, with plugins in `dirs` alone.

    Only `report` is called with what is of note, as (event, **facts).  With `alone`, the records in
    other state folders do not count.  `policy` replaces the node's.
    """
    return LinuxNode(
        data_dir, dirs, os.environ, report, looks_only=True, alone=alone, policy=policy
    )


def nothing_lent(
    data_dir: str | None, *, damaged: bool = False, namespace: str | None = None
) -> str:
    """The sentence for a state folder without a record; None means the default one.

    If records were `damaged`, a pod may have a NIC all the same.  With a `namespace`, there is no
    record of a pod in it.
    """
    data_dir = data_dir or DEFAULT_DATA_DIR
    if namespace is not None:
        return f"No NIC is lent to a pod in the namespace {namespace} ({data_dir})."
    if damaged:
        return f"No record says that a NIC is lent ({data_dir}), but damaged ones were set aside."
    if os.path.isdir(data_dir):
        return f"No NIC is lent to a pod ({data_dir})."
    return f"No NIC is lent to a pod: {data_dir} does not exist; the first ADD creates it."


def set_aside_in(store: Folders) -> Iterator[tuple[DeviceKey, str]]:
    """The devices whose damaged records were set aside, and a sentence on each.

    Raises: StateFailure if the folder cannot be read.
    """
    for key, path in store.set_aside():
        yield key, f"the record of {key} was damaged and set aside as {path}; see amdcni doctor"


def read_records(node: OpenNode) -> Records:
    """All records, and what AMD's Go plugin has lent; nothing is changed.

    Raises: StateFailure if the folder cannot be read, KernelRefused.
    """
    records = read_store(node.store)
    return attrs.evolve(records, lent_by_go=taking_over.still_out(records.read, node))


def read_store(store: Folders) -> Records:
    """All records, and why others could not be read; raises StateFailure if the folder cannot."""
    read: list[Attachment] = []
    faults: dict[DeviceKey, str] = {}
    newer: set[DeviceKey] = set()
    keys = [(part, key) for part in store.parts for key in part.device_keys()]
    for part, key in keys:
        try:
            record = part.read(key)
        except StateFailure as failure:
            faults[key] = failure.message
            newer |= {key} if isinstance(failure, StateTooNew) else set()
        else:
            read += [] if record is None else [record]
    return Records(tuple(read), faults, newer=frozenset(newer))
