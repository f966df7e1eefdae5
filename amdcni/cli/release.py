"""`amdcni release`: gives a NIC back to the host, though no DEL asks for it."""

import argparse
import sys
from typing import IO, Final

from amdcni.cli.attachments import Known, names_device, read_all
from amdcni.cli.node import on_this_node
from amdcni.cli.printing import print_json, print_line
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition
from amdcni.core.errors import UnknownAttachment
from amdcni.healing import give_back_locked

_LOCK_WAIT_S: Final = 5.0


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Ask, and give the device back; 1 if that fails or is not wanted, 2 if nobody can be asked."""
    with on_this_node(options.data_dir, "release", stderr) as node:
        records = [
            (known, known.record)
            for known in read_all(node)
            if known.record is not None and names_device(options.device, known)
        ]
        if not records:
            raise UnknownAttachment(
                f"no record of {options.device!r}; amdcni attachments shows what there is"
            )
        if not options.yes:
            if not sys.stdin.isatty():
                stderr.write("amdcni: nobody can be asked here; give --yes\n")
                return 2
            if not all(_is_agreed(known, record, stderr) for known, record in records):
                stderr.write("amdcni: nothing was done\n")
                return 1
        for _, record in records:
            give_back_locked(record, node, wait_s=_LOCK_WAIT_S)
    if options.json:
        told = [{"device": str(record.key), "holder": str(record.id)} for _, record in records]
        print_json(told, stdout)
    else:
        for _, record in records:
            print_line(f"{_named(record)} is the host's again.", stdout)
    return 0


def _is_agreed(known: Known, record: Attachment, stderr: IO[str]) -> bool:
    """Whether the person at the terminal says yes."""
    has = "has it, and loses it" if known.condition is Condition.HELD else "had it"
    stderr.write(
        f"{_named(record)}: container {record.id.container_id} {has} as {record.id.ifname}\n"
        f"in {record.netns.path}, since {record.since}.\n"
        "Give it back to the host? [y/N] "
    )
    stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _named(record: Attachment) -> str:
    name = record.host_ifname
    return str(record.key) if name is None else f"{record.key} ({name})"
