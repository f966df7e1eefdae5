"""What may be typed where the command line wants an attachment, a device or a namespace."""

import re
from collections.abc import Iterator
from typing import Final, assert_never

from amdcni.cli.node import read_store
from amdcni.cli.options import Words
from amdcni.core.attachment import Attachment
from amdcni.core.errors import AmdcniError
from amdcni.core.nics import Records
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.effects.nics import read_nics
from amdcni.effects.stores import Stores


def find_words(kind: Words) -> dict[str, str]:
    """The words of a kind, in order, and a few other words about each.

    Whoever may not read the records gets none, and so does everybody if they cannot be read: this
    is asked while somebody is typing.
    """
    found: dict[str, str] = {}
    try:
        for word, about in _each(kind):
            if _PLAIN.fullmatch(word):
                found.setdefault(word, about if _SHOWN.fullmatch(about) else "")
    except (AmdcniError, OSError):
        return {}
    return found


_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+-]*")
"""What means itself in every shell.  The name of a netdev may be `$(reboot)`."""

_SHOWN: Final = re.compile(r"[ -~]*")


def _each(kind: Words) -> Iterator[tuple[str, str]]:
    match kind:
        case Words.ATTACHMENTS:
            yield from _of_attachments(_read_records())
        case Words.NAMESPACES:
            pods = sorted(record.pod for record in _read_records().read if record.pod)
            yield from ((pod.partition("/")[0], "") for pod in pods)
        case Words.DEVICES:
            nics = {str(nic.device.bus_device): nic.ports for nic in read_nics()}
            for device, ports in sorted(nics.items()):
                yield device, ", ".join(str(port.ifname) for port in ports)
        case _:
            assert_never(kind)


def _read_records() -> Records:
    return read_store(Stores(DEFAULT_DATA_DIR, lambda *_, **__: None, looks_only=True))


def _of_attachments(records: Records) -> Iterator[tuple[str, str]]:
    """What `find_named` takes: first the devices, then their names, pods, and container IDs."""
    read = sorted(records.read, key=lambda record: str(record.key))
    for record in read:
        yield record.key.lock_name, _holder(record)
    for key in sorted(records.faults, key=str):
        yield key.lock_name, "its record cannot be read"
    for record in read:
        yield str(record.host_ifname or ""), f"{record.key.lock_name}, {_holder(record)}"
    for record in read:
        yield record.pod or "", _devices(read, record)
    for record in read:
        yield record.id.short, _holder(record) if record.pod else _devices(read, record)


def _holder(record: Attachment) -> str:
    return record.pod or f"container {record.id.short}"


def _devices(records: list[Attachment], one: Attachment) -> str:
    """The devices of the pod that has this one."""
    return ", ".join(
        each.key.lock_name for each in records if each.id.container_id == one.id.container_id
    )
