"""The state folder: a record for each held device, written durably, and locks between processes.

    <folder>/<device key>.json          the records, mode 0600
    <folder>/unfinished/<device key>    a file for each record whose work has not ended
    <folder>/multipath/<device key>     and for each that shares a route or a nexthop group
    <folder>/several/<device key>       and for each of a device that has several netdevs
    <folder>/locks/<device>             what calls lock; stays, and is empty

A marker is written before its record and removed after it: it may be stale, but is never missing;
a copy of the folder has to have all of it.  What a marker contains is only a hint: when calls that
are not about the device try again (`amdcni.core.retry`).
"""

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import attrs

from amdcni.core import codec, formats, retry
from amdcni.core.aspects.routes import has_shared
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.errors import DamagedRecord, DeviceBusy, InvalidName, StateFailure, StateTooNew
from amdcni.core.names import BusDevice, DeviceKey
from amdcni.core.retry import Attempts
from amdcni.effects import locks
from amdcni.effects.trust import (
    NotTrusted,
    is_private,
    open_anew,
    open_folder,
    open_to_read,
    open_to_write,
)

_MARKERS: Final = ("unfinished", "multipath", "several")
_MOST_BYTES_OF_MARKER: Final = 4096
_NOT_WRITABLE: Final = frozenset(
    {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT}
)

Report = Callable[..., None]


class Guard(Protocol):
    """What locks devices for a store, which may be one of several."""

    def holds(self, device: str) -> bool:
        """Whether this process has the lock."""

    def lock(self, device: str, wait_s: float) -> AbstractContextManager[None]:
        """Exclude every other process from `device`; raises DeviceBusy, StateFailure."""


class Store:
    """The records of one state folder; `report` informs the operator about what is damaged.

    With `looks_only`, damaged records stay where they are.  With a `guard`, its locks count instead
    of the store's own.
    """

    def __init__(
        self,
        folder: str,
        report: Report,
        *,
        looks_only: bool = False,
        guard: Guard | None = None,
    ) -> None:
        self.folder = folder
        self._folder = str(Path(folder))
        self._guard: Guard = self if guard is None else guard
        self._report = report
        self._looks_only = looks_only
        self._held_locks: dict[str, int] = {}
        self._found_damaged: set[DeviceKey] = set()
        self._last_decoded: dict[DeviceKey, tuple[bytes, Attachment]] = {}

    @property
    def held_locks(self) -> tuple[int, ...]:
        """The descriptors of the locks that are held, for plugins that are called to inherit.

        A lock lasts as long as any process has it open: if this process is killed, its device stays
        locked until the plugin that it started has ended too.
        """
        return tuple(self._held_locks.values())

    # ---- reading

    def find(self, key: DeviceKey) -> Attachment | None:
        """The record of `key`; a damaged one is set aside and treated as absent.

        It is set aside under its lock, so what another call writes there is never touched.

        Raises: StateTooNew, StateFailure.
        """
        try:
            return self.read(key)
        except DamagedRecord as failure:
            self._found_damaged.add(key)
            if self._looks_only:
                self._report("record-damaged", path=self._path(key), reason=failure.message)
                return None
            if self._guard.holds(key.lock_name):
                self._set_aside(key, failure)
                return None
        try:
            with self._guard.lock(key.lock_name, wait_s=0):
                return self.find(key)
        except DeviceBusy:
            return None

    def read(self, key: DeviceKey) -> Attachment | None:
        """The record of `key`, leaving everything as it is.

        Raises: DamagedRecord, StateTooNew, StateFailure.
        """
        path = self._path(key)
        try:
            fd = open_to_read(path, in_private=is_private(self.folder))
            with os.fdopen(fd, "rb") as file:
                data = file.read(formats.MAX_RECORD_BYTES + 1)
            record = self._decoded(data, key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if isinstance(error, NotTrusted) and not os.path.isdir(path):
                raise DamagedRecord(str(error.strerror)) from None
            raise StateFailure(f"cannot read {path!r}: {error.strerror}") from None
        except (StateTooNew, DamagedRecord) as failure:
            raise type(failure)(f"{path!r}: {failure.message}") from None
        if record.key != key:
            raise DamagedRecord(f"{path!r} is the record of {record.key}")
        return attrs.evolve(record, folder=self.folder)

    def _decoded(self, data: bytes, key: DeviceKey) -> Attachment:
        """The record in `data`, which is decoded once, however often a call looks at the file."""
        known = self._last_decoded.get(key)
        if known is None or known[0] != data:
            known = self._last_decoded[key] = (data, formats.parse_attachment(data))
        return known[1]

    def all(self) -> tuple[Attachment, ...]:
        """All records that can be read; the others are reported and left out."""
        return self._readable(self.device_keys())

    def _readable(self, keys: Iterable[DeviceKey]) -> tuple[Attachment, ...]:
        records = []
        for key in keys:
            try:
                record = self.find(key)
            except StateTooNew as failure:
                self._report("record-too-new", device=str(key), reason=failure.message)
            except StateFailure as failure:
                self._report("record-unreadable", device=str(key), reason=failure.message)
            else:
                records += [] if record is None else [record]
        return tuple(records)

    def of(self, bus_device: BusDevice) -> tuple[Attachment, ...]:
        """The records of one bus device, at no cost for the others; raises as `find` does."""
        several = _parsed_keys(_names(f"{self._folder}/several"))
        keys = [DeviceKey(bus_device), *(key for key in several if key.bus_device == bus_device)]
        return tuple(record for key in keys if (record := self.find(key)) is not None)

    def unfinished(self) -> tuple[DeviceKey, ...]:
        """The keys of the records whose work has not ended, without reading any."""
        return _parsed_keys(_names(f"{self._folder}/unfinished"))

    def attempts(self, key: DeviceKey) -> Attempts | None:
        """What calls about other devices have noted on unfinished work; None if nothing usable."""
        try:
            with os.fdopen(open_to_read(f"{self._folder}/unfinished/{key}"), "rb") as file:
                return retry.parse_attempts(file.read(_MOST_BYTES_OF_MARKER))
        except OSError:
            return None

    def multipath(self) -> tuple[Attachment, ...]:
        """The records with a shared route or nexthop group; one that cannot be read is left out."""
        return self._readable(_parsed_keys(_names(f"{self._folder}/multipath")))

    def was_damaged(self, key: DeviceKey) -> bool:
        """Whether a record of `key` was found damaged, by this call or by an earlier one."""
        aside = f"{key}.json.damaged-"
        set_aside = any(name.startswith(aside) for name in _names(self._folder))
        return set_aside or key in self._found_damaged

    def set_aside(self) -> tuple[tuple[DeviceKey, str], ...]:
        """The devices whose records earlier calls found damaged, and the paths of the files."""
        aside = []
        for name in _names(self._folder):
            device, found, _ = name.partition(".json.damaged-")
            if found:
                aside += [(key, f"{self._folder}/{name}") for key in _parsed_keys([device])]
        return tuple(aside)

    def device_keys(self) -> tuple[DeviceKey, ...]:
        """The keys of all records, by the names of their files, without reading any."""
        names = _names(self._folder)
        return _parsed_keys([n.removesuffix(".json") for n in names if n.endswith(".json")])

    def _path(self, key: DeviceKey) -> str:
        return f"{self._folder}/{key}.json"

    def _set_aside(self, key: DeviceKey, failure: DamagedRecord) -> None:
        path = self._path(key)
        aside = f"{path}.damaged-{time.time_ns()}"
        try:
            os.rename(path, aside)
        except OSError as error:
            self._report("record-damaged", path=path, reason=failure.message, kept=str(error))
        else:
            self._report("record-damaged", path=aside, reason=failure.message)

    # ---- writing

    def save(self, record: Attachment) -> None:
        """Write the record so that it survives a crash at any instant; raises StateFailure."""
        written = formats.attachment_to_json(record)
        data = codec.encode(written).encode() + b"\n"
        with _io(f"write the record of {record.key} to {self._folder!r}"):
            if record.phase is not Phase.ATTACHED:
                self._make_folders()
                # What was noted about earlier work does not hold for this.
                self._add_marker("unfinished", record.key)
            if record.key.bus_device is not None and record.key.ifname is not None:
                self._add_marker("several", record.key)
            if record.captured is not None and has_shared(record.captured):
                self._add_marker("multipath", record.key)
            self._write(self._path(record.key), data)
            kept = attrs.evolve(record, read_from=written, folder=None)
            self._last_decoded[record.key] = (data, kept)
            if record.phase is Phase.ATTACHED:
                self._remove_marker("unfinished", record.key)

    def remove(self, key: DeviceKey) -> None:
        """Remove the record, and leave a marker that there is work to do; raises StateFailure.

        A full disk may have refused the marker, and then the record itself becomes it.  What was
        noted about attempts holds no longer: the next call is to do what is left.
        """
        path = self._path(key)
        with _io(f"remove the record of {key} from {self._folder!r}"):
            _unlink(_temporary(path))
            if os.path.lexists(path):
                with suppress(OSError), self._inside("unfinished") as folder:
                    if _is_in(folder, key):
                        os.close(open_to_write(str(key), folder, emptied=True))
                    else:
                        os.rename(path, str(key), dst_dir_fd=folder)
                        os.fsync(folder)
                _unlink(path)
                _sync_folder(self._folder)

    def forget(self, key: DeviceKey) -> None:
        """Remove the record and all that belongs to it; raises StateFailure."""
        self.remove(key)
        with _io(f"remove the markers of {key} from {self._folder!r}"):
            # The marker of unfinished work goes last: it is what brings a later call back here.
            for kind in reversed(_MARKERS):
                self._remove_marker(kind, key)

    def _add_marker(self, kind: str, key: DeviceKey) -> None:
        with self._inside(kind) as folder:
            is_new = not _is_in(folder, key)
            try:
                os.close(open_to_write(str(key), folder, emptied=True))
            except NotTrusted:
                os.unlink(str(key), dir_fd=folder)
                os.close(open_to_write(str(key), folder))
            if is_new:
                os.fsync(folder)

    def _remove_marker(self, kind: str, key: DeviceKey) -> None:
        with suppress(FileNotFoundError), self._inside(kind) as folder:
            os.unlink(str(key), dir_fd=folder)

    @contextmanager
    def _inside(self, kind: str) -> Iterator[int]:
        """One of the folders in the state folder, open, so that nobody can exchange it."""
        fd = open_folder(f"{self._folder}/{kind}")
        try:
            yield fd
        finally:
            os.close(fd)

    def note(self, key: DeviceKey, attempts: Attempts) -> None:
        """Note in the marker of unfinished work how attempts to end it went, if possible.

        The note lasts for this boot and is not worth a sync; half a note is treated as absent.
        """
        with suppress(OSError), self._inside("unfinished") as folder:
            if _is_in(folder, key):
                fd = open_to_write(str(key), folder, emptied=True)
                with os.fdopen(fd, "wb") as file:
                    file.write(retry.to_bytes(attempts))

    def replace(self, name: str, data: bytes, *, modified_ns: int) -> None:
        """Write another file, whose lock is held, as durably as a record; raises StateFailure.

        It gets `modified_ns` as the time of its last change.
        """
        path = f"{self._folder}/{name}"
        with _io(f"rewrite {path!r}"):
            self._write(path, data, modified_ns)

    def _write(self, path: str, data: bytes, modified_ns: int | None = None) -> None:
        # Writers hold the device's lock, so the next one takes over what a killed one left.
        temporary = _temporary(path)
        try:
            fd = open_anew(temporary)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                if modified_ns is not None:
                    os.utime(fd, ns=(modified_ns, modified_ns))
                os.fsync(fd)
            os.rename(temporary, path)
        except OSError:
            _unlink(temporary)
            raise
        _sync_folder(os.path.dirname(path))

    def make_folder(self, name: str) -> None:
        """Make a folder in the state folder, durably; raises StateFailure."""
        with _io(f"make the folder {name} in {self._folder!r}"):
            _make_folder(f"{self._folder}/{name}")

    def _make_folders(self) -> None:
        for name in (*_MARKERS, "locks"):
            folder = f"{self._folder}/{name}"
            if os.path.islink(folder):  # Nothing of ours is elsewhere.
                _unlink(folder)
            _make_folder(folder)

    def require_writable(self) -> None:
        """Raise StateFailure unless a record could be written now."""
        probe = f"{self._folder}/.probe.tmp"
        with _io(f"write to the state folder {self._folder!r}"):
            self._make_folders()
            try:
                # Unless another call has just made its own.
                with suppress(FileExistsError), os.fdopen(open_anew(probe), "wb") as file:
                    file.write(b"\0" * 4096)
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                _unlink(probe)

    # ---- locking

    def holds(self, device: str) -> bool:
        """Whether this process has the lock."""
        return device in self._held_locks

    @contextmanager
    def lock(self, device: str, wait_s: float) -> Iterator[None]:
        """Exclude every other process from `device`; raises DeviceBusy, StateFailure."""
        with _io(f"lock {device} in {self._folder!r}"):
            fd = self._open_lock(device)
        shared = self._is_locked_as_another(fd, device)
        try:
            if not shared:
                locks.acquire(fd, device, wait_s)
            self._held_locks[device] = fd
            try:
                yield
            finally:
                del self._held_locks[device]
                if not shared:
                    locks.release(fd)
        finally:
            os.close(fd)

    def is_locked(self, device: str) -> bool:
        """Whether a process has the lock of `device` now; nothing is locked, made or waited for."""
        held = locks.is_held(f"{self._folder}/locks/{device}")
        return bool(locks.is_held(self._folder) if held is None else held)

    def _is_locked_as_another(self, fd: int, device: str) -> bool:
        """Whether this process has the same file locked for another name: the folder itself.

        It stands for every lock that cannot be made; to wait for it would be to wait for ourselves.
        """
        others = [held for name, held in self._held_locks.items() if name != device]
        return any(os.path.sameopenfile(fd, held) for held in others)

    def _open_lock(self, device: str) -> int:
        """The lock's file, or the folder if nothing can be created in it: no ADD works there."""
        path = f"{self._folder}/locks/{device}"
        try:
            self._make_folders()
            with self._inside("locks") as folder:
                return open_to_write(device, folder)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            with suppress(FileNotFoundError, NotADirectoryError, NotTrusted):
                return open_to_read(path)
            if not os.path.isdir(self._folder):
                raise
            return os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _io(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateFailure(f"cannot {what}: {error.strerror or error}") from None


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StateFailure(f"cannot read {folder!r}: {error.strerror}") from None


def _parsed_keys(names: list[str]) -> tuple[DeviceKey, ...]:
    """The keys among these file names; files with other names are not ours, and are skipped."""
    keys = []
    for name in names:
        try:
            keys.append(DeviceKey.parse(name))
        except InvalidName:
            continue
    return tuple(keys)


def _is_in(folder: int, key: DeviceKey) -> bool:
    """Whether an open folder has a marker, or anything else in place of it."""
    try:
        os.lstat(str(key), dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _temporary(path: str) -> str:
    folder, name = os.path.split(path)
    return f"{folder}/.{name}.tmp"


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _make_folder(folder: str) -> None:
    """Make the folder and those that it is in, each so that it survives a crash."""
    if not os.path.isdir(folder):
        parent = os.path.dirname(folder) or "."
        _make_folder(parent)
        Path(folder).mkdir(mode=0o700, exist_ok=True)
        _sync_folder(parent)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
