"""The settings of the queues of a netdev: files of sysfs, in this thread's network namespace.

The folder of the netdev is found in a sysfs of its own, which shows the netdevs of the namespace
that this thread is in.  What is mounted on /sys may show those of another one, and is read-only in
many containers.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from amdcni.core.aspects.change import Unsaved
from amdcni.core.aspects.queues import OF_NETDEV, OF_QUEUES, Queues, SetQueues, folded, plain
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev
from amdcni.effects.netns import mounted_sysfs
from amdcni.effects.rtnetlink import Rtnetlink

_VALUE_BYTES: Final = 4096


@attrs.frozen(slots=False, kw_only=True)
class ReadQueues(Queues, Unsaved):
    """What was read, and whether it could not be."""


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> ReadQueues:
    """All of them; those that this netdev does not have, or cannot be read, are left out.

    They are not read if none were kept.
    """
    if kept is not None and kept.queues is None:
        return ReadQueues()
    try:
        with _folder_of(netdev) as folder:
            return ReadQueues(queues=folded(dict(_settings_in(folder))))
    except OSError as error:
        return ReadQueues(unsaved=(f"the settings of its queues ({error.strerror})",))


def _settings_in(folder: int) -> Iterator[tuple[str, str]]:
    for name in OF_NETDEV:
        value = _read(name, folder)
        if value is not None:
            yield name, value
    queues = _open_folder("queues", folder)
    try:
        for queue in os.listdir(queues):
            yield from _settings_of(queue, queues)
    finally:
        os.close(queues)


def _settings_of(queue: str, queues: int) -> Iterator[tuple[str, str]]:
    """The settings of a queue.  A netdev that lacks one of a folder lacks all that follow."""
    lacking = ""
    for name in OF_QUEUES.get(queue.partition("-")[0], ()):
        folder = name.rpartition("/")[0]
        if folder and folder == lacking:
            continue
        value = _read(f"{queue}/{name}", queues)
        if value is None:
            lacking = folder
        else:
            yield f"{queue}/{name}", value


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetQueues) -> None:
    """Set it, for each queue as far as there are such; raises KernelRefused."""
    refused = {}
    try:
        with _folder_of(netdev, writable=True) as folder:
            for place in change.places:
                inside = f"queues/{place}" if "/" in place else place
                try:
                    _write(inside, folder, change.value)
                except OSError as error:
                    refused[place] = error.strerror
    except OSError as error:
        refused[change.where] = error.strerror
    if refused:
        place, why = next(iter(refused.items()))
        others = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise KernelRefused(
            f"the kernel refused to set {place}{others} of {netdev.ifname} to {change.value}: {why}"
        )


@contextmanager
def _folder_of(netdev: Netdev, *, writable: bool = False) -> Iterator[int]:
    """The folder of the netdev, open; raises OSError."""
    with mounted_sysfs(writable=writable) as root:
        folder = _open_folder(f"class/net/{netdev.ifname}", root)
        try:
            yield folder
        finally:
            os.close(folder)


def _open_folder(path: str, folder: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)


def _read(path: str, folder: int) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        return plain(os.read(fd, _VALUE_BYTES).decode().strip())
    except OSError:  # xps_cpus of a netdev with one queue
        return None
    finally:
        os.close(fd)


def _write(path: str, folder: int, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
