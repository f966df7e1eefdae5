"""`amdcni release`: returns a NIC to the host without waiting for a DEL."""

import argparse
import sys
from typing import IO, Any, Final, assert_never

import attrs

from amdcni.cli.columns import plain
from amdcni.cli.known import Known, about, age_of, find_named, read_all, require_one
from amdcni.cli.node import on_this_node, set_aside_in
from amdcni.cli.printing import for_programs, print_sentence, print_value
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition
from amdcni.core.errors import AmdcniError, UnknownAttachment
from amdcni.effects.node import LinuxNode
from amdcni.verbs.giving_back import Returned, give_back_locked

_LOCK_WAIT_S: Final = 5.0


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Ask, and return the device to the host; 1 if it was not returned, 2 if nobody can answer."""
    with on_this_node(options.data_dir, "release", stderr) as node:
        records = _meant(options.id, node)
        if not options.yes:
            if not sys.stdin.isatty():
                stderr.write("amdcni: there is no terminal to ask on; use --yes\n")
                return 2
            if not all(_is_agreed(known, record, stderr) for known, record in records):
                stderr.write("amdcni: nothing was done\n")
                return 1
        released = [_release(record, node) for _, record in records]
    if for_programs(options):
        print_value([as_json(each) for each in released], options, stdout)
    else:
        for each in released:
            print_sentence(sentence_on(each), stdout, indent=2)
    return 0 if all(each.is_done for each in released) else 1


def _meant(text: str, node: LinuxNode) -> list[tuple[Known, Attachment]]:
    """What is to be returned: the netdevs of one device, even if a pod has several devices.

    The name that a netdev has in its pod is none of the host's, and names nothing here.

    Raises: UnknownAttachment if there is no usable record, or several devices may be meant.
    """
    known = read_all(node)
    aside = [Known(key, fault=fault) for key, fault in set_aside_in(node.store)]
    damaged = [*(each for each in known if each.fault is not None), *aside]
    found = find_named(text, known, [str(each.fault) for each in damaged], inside=False)
    require_one(text, found)
    usable = [(each, each.record) for each in found if each.record is not None]
    if not usable:
        faults = "; ".join(str(each.fault) for each in found)
        raise UnknownAttachment(f"the record of {text!r} cannot be used: {faults}")
    return usable


@attrs.frozen
class Released:
    """A record, and what has become of its device; `failure` is why it was not returned."""

    record: Attachment
    returned: Returned | None = None
    failure: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the attachment no longer has the device."""
        return self.returned not in (None, Returned.UNPLUGGED, Returned.ANOTHERS)


def _release(record: Attachment, node: LinuxNode) -> Released:
    """Return one device to the host; a failure does not stop the others."""
    try:
        return Released(record, give_back_locked(record, node, wait_s=_LOCK_WAIT_S))
    except AmdcniError as failure:
        return Released(record, failure=str(failure))


def as_json(released: Released) -> dict[str, Any]:
    """What became of a device, for programs."""
    return {
        "device": str(released.record.key),
        "holder": str(released.record.id),
        "released": released.is_done,
        "result": released.returned and released.returned.value,
        "failure": released.failure,
    }


def sentence_on(released: Released) -> str:
    """What became of a device, for people."""
    record = released.record
    what = f"{about(record.key, record)} of {record.lent_to}"
    match released.returned:
        case None:
            return f"{what} was not returned, and its record stays: {released.failure}"
        case Returned.BACK if record.captured is None:
            return f"{what} is free again."
        case Returned.BACK:
            return f"{what} is the host's again."
        case Returned.FORGOTTEN:
            return (
                f"{what}: the node has been rebooted since, which configured the host anew. "
                "The record is forgotten, and nothing was restored."
            )
        case Returned.ALREADY:
            return f"{what} was returned by another call in the meantime."
        case Returned.ANOTHERS:
            return f"{what} was given to another attachment meanwhile, which keeps it."
        case Returned.DESTROYED:
            return (
                f"{what} was made by software and destroyed with its pod, so nothing was returned. "
                "The record is forgotten; create the netdev again, as the node's boot does."
            )
        case Returned.UNPLUGGED:
            return (
                f"{what} is not in the machine, so nothing was returned. "
                "Its record stays; plug it in again, or see amdcni doctor."
            )
        case _:
            assert_never(released.returned)


def _is_agreed(known: Known, record: Attachment, stderr: IO[str]) -> bool:
    """Whether the person at the terminal says yes."""
    has, loses = ("has", ", and will lose it") if known.condition is Condition.HELD else ("had", "")
    stderr.write(
        f"{plain(known.about)}: {plain(record.lent_to)} {has} it as {plain(record.id.ifname)},\n"
        f"for {age_of(record.since)}{loses}.\n"
        "Return it to the host? [y/N] "
    )
    stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
