"""The settings of the queues of a netdev, and of the pollers that serve them (NAPI instances).

Those of queues are files of sysfs; those of pollers are known to netlink only.  Both are of the
network namespace that this thread is in.  So sysfs is mounted anew: what is on /sys may show
another namespace, and is read-only in many containers.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from amdcni.core.aspects.change import Unsaved
from amdcni.core.aspects.queues import NAPI, OF_NETDEV, OF_QUEUES, Queues, SetQueues, folded, plain
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev
from amdcni.effects.files import text_in, write
from amdcni.effects.generic_netlink import family
from amdcni.effects.messages import napi
from amdcni.effects.netns import mounted_sysfs
from amdcni.effects.rtnetlink import Reply, RequestRefused, Rtnetlink


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
            settings = dict(_settings_in(folder))
    except OSError as error:
        return ReadQueues(unsaved=(f"the settings of its queues ({error.strerror})",))
    return ReadQueues(queues=folded({**settings, **_settings_of_pollers(netdev)}))


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


def _settings_of_pollers(netdev: Netdev) -> dict[str, str]:
    """The settings of each poller; none before Linux 6.13, and while the netdev is down."""
    try:
        with family(napi.FAMILY) as (kernel, number):
            return {
                f"{NAPI}-{index}/{name}": value
                for index, poller in enumerate(_pollers(kernel, number, netdev))
                for name, value in napi.settings_in(poller).items()
            }
    except KernelRefused:
        return {}


def _pollers(kernel: Rtnetlink, number: int, netdev: Netdev) -> list[Reply]:
    return sorted(kernel.dump(napi.query(number, netdev.ifindex)), key=napi.id_of)


def _set_of_poller(netdev: Netdev, place: str, value: str) -> None:
    """Change a setting of one poller; raises OSError, also if there is no such poller."""
    poller, _, name = place.partition("/")
    index = int(poller.partition("-")[2])
    with family(napi.FAMILY) as (kernel, number):
        there = _pollers(kernel, number, netdev)
        if index >= len(there):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            kernel.ask(napi.change(number, napi.id_of(there[index]), name, value))
        except RequestRefused as failure:
            raise OSError(failure.code, failure.said) from None
        except (KeyError, ValueError, OverflowError):  # from a record that somebody has edited
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetQueues) -> None:
    """Set it, for each queue as far as there are such; raises KernelRefused."""
    refused: dict[str, str | None] = {}
    try:
        with _folder_of(netdev, writable=True) as folder:
            for place in change.places:
                try:
                    _set(netdev, place, folder, change.value)
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
    value = text_in(path, folder)  # none for xps_cpus of a netdev with one queue
    return None if value is None else plain(value)


def _set(netdev: Netdev, place: str, folder: int, value: str) -> None:
    """Give the netdev one setting; raises OSError."""
    if place.startswith(f"{NAPI}-"):
        _set_of_poller(netdev, place, value)
    else:
        write(f"queues/{place}" if "/" in place else place, value, folder)
