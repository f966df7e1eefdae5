"""All state folders of a node: the configuration's own, the default one, and others that are known.

    <default folder>/folders/<name>     one file for each other folder that holds records: its path

The `dataDir` of a definition can be edited while a pod has a NIC.  So the default folder has an
index of the others.  An entry is added before the first record and removed after the last one, both
under the lock `folders`; so it may be stale, but is never missing.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final, TypeVar

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.errors import AmdcniError, InvalidName, StateFailure
from amdcni.core.names import BusDevice, DeviceKey, FilePath, parse_file_path
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.core.retry import Attempts
from amdcni.effects.store import Report, Store
from amdcni.effects.trust import is_roots_folder, open_to_read

T = TypeVar("T")

_INDEX: Final = "folders"
_MAX_PATH_BYTES: Final = 4096
_LOCK_WAIT_S: Final = 10.0


class Stores:
    """The records of all state folders, as if they were in one.

    A record is written and removed where it was read; a new one goes to `folder`.  With `alone`,
    there is no other folder, but the locks are the same that other processes take.  A folder in the
    index is looked into if it belongs to root.
    """

    def __init__(
        self,
        folder: str,
        report: Report,
        *,
        default: str = DEFAULT_DATA_DIR,
        looks_only: bool = False,
        alone: bool = False,
    ) -> None:
        self._report = report
        self._looks_only = looks_only
        self._alone = alone
        self._locked: set[str] = set()
        self.home = Store(folder, report, looks_only=looks_only, guard=self)
        self.default = self.home if _is_same(folder, default) else self._store(default)
        self._others: dict[str, Store] = {}
        self._not_believed: set[str] = set()

    def _store(self, folder: str) -> Store:
        return Store(folder, self._report, looks_only=self._looks_only, guard=self)

    @property
    def parts(self) -> tuple[Store, ...]:
        """The stores of all folders that can be read now, each once.

        A folder that is not there any more, or that this user may not read, is left out.
        """
        if self._alone:
            return (self.home,)
        here = self.home is not self.default and os.path.isdir(self.home.folder)
        parts = [self.home, self.default] if here else [self.default]
        for path in self.indexed().values():
            usable = os.access(path, os.R_OK | os.X_OK)
            if usable and not is_roots_folder(path):
                self._report_once(path)
            elif usable and not any(_is_same(path, part.folder) for part in parts):
                parts.append(self._others.setdefault(path, self._store(path)))
        return tuple(parts)

    def _report_once(self, path: str) -> None:
        if path not in self._not_believed:
            self._not_believed.add(path)
            self._report("folder-not-believed", path=path)

    def indexed(self) -> dict[str, FilePath]:
        """The other folders in the index, by the files that name them."""
        index = f"{self.default.folder}/{_INDEX}"
        found = {}
        with suppress(OSError):
            for name in sorted(os.listdir(index)):
                with suppress(OSError, ValueError, InvalidName):
                    with os.fdopen(open_to_read(f"{index}/{name}"), "rb") as file:
                        text = file.read(_MAX_PATH_BYTES + 1).decode(errors="surrogateescape")
                    found[f"{index}/{name}"] = parse_file_path(text.removesuffix("\n"))
        return found

    # ---- reading

    def find(self, key: DeviceKey) -> Attachment | None:
        """The record of `key`; raises as `Store.find` does."""
        return next(self._each(lambda part: part.find(key)), None)

    def read(self, key: DeviceKey) -> Attachment | None:
        """The record of `key`, leaving everything as it is; raises as `Store.read` does."""
        return next(self._each(lambda part: part.read(key)), None)

    def _each(self, find: Callable[[Store], T | None]) -> Iterator[T]:
        found = (find(part) for part in self.parts)
        return (each for each in found if each is not None)

    def _all(self, listed: Callable[[Store], Iterable[T]]) -> tuple[T, ...]:
        """What each folder lists; one that cannot be read is skipped if it is only indexed."""
        found: list[T] = []
        for part in self.parts:
            try:
                found += listed(part)
            except StateFailure:
                if part in (self.home, self.default):
                    raise
        return tuple(found)

    def all(self) -> tuple[Attachment, ...]:
        """All records that can be read; the others are reported and left out."""
        return self._all(lambda part: part.all())

    def of(self, bus_device: BusDevice) -> tuple[Attachment, ...]:
        """The records of one bus device; raises as `find` does."""
        return tuple(record for part in self.parts for record in part.of(bus_device))

    def unfinished(self) -> tuple[DeviceKey, ...]:
        """The keys of the records whose work has not ended, without reading any."""
        return tuple(dict.fromkeys(self._all(lambda part: part.unfinished())))

    def multipath(self) -> tuple[Attachment, ...]:
        """The records with a shared route or nexthop group; one that cannot be read is left out."""
        return self._all(lambda part: part.multipath())

    def attempts(self, key: DeviceKey) -> Attempts | None:
        """What calls about other devices have noted on unfinished work; None if nothing usable."""
        return next(self._each(lambda part: part.attempts(key)), None)

    def was_damaged(self, key: DeviceKey) -> bool:
        """Whether a record of `key` was found damaged, by this call or by an earlier one."""
        return any(part.was_damaged(key) for part in self.parts)

    def set_aside(self) -> tuple[tuple[DeviceKey, str], ...]:
        """The devices whose records earlier calls found damaged, and the paths of the files."""
        return self._all(lambda part: part.set_aside())

    # ---- writing

    def save(self, record: Attachment) -> None:
        """Write the record where it was read, or where new ones belong; raises StateFailure.

        Raises: DeviceBusy if the index is locked for long.
        """
        part = self._part(record.folder)
        if part is self.default:
            part.save(record)
        else:
            with self.default.lock(_INDEX, _LOCK_WAIT_S):
                self._note(part)
                try:
                    part.save(record)
                except StateFailure:
                    with suppress(OSError, AmdcniError):
                        self._drop(part)
                    raise
        if record.phase is Phase.ATTACHED:
            self._drop_stale_markers(record.key, part)

    def remove(self, key: DeviceKey, folder: str | None = None) -> None:
        """Remove only the record that was read in `folder`; None means all folders.

        Raises: StateFailure.
        """
        for part in self.parts if folder is None else (self._part(folder),):
            part.remove(key)

    def forget(self, key: DeviceKey, folder: str | None = None) -> None:
        """Remove the record that was read in `folder`, None meaning all; raises StateFailure.

        An index entry that is stale then is removed too, if possible.
        """
        for part in self.parts if folder is None else (self._part(folder),):
            part.forget(key)
            if part is not self.default:
                with suppress(OSError, AmdcniError), self.default.lock(_INDEX, 0):
                    self._drop(part)

    def note(self, key: DeviceKey, attempts: Attempts) -> None:
        """Note in the markers of unfinished work how attempts to end it went, if possible.

        A folder that has no such marker gets none.
        """
        for part in self.parts:
            part.note(key, attempts)

    def _part(self, folder: str | None) -> Store:
        if folder is None:
            return self.home
        found = (part for part in self.parts if part.folder == folder)
        return next(found, None) or self._store(folder)

    def _note(self, part: Store) -> None:
        """Add the folder to the index durably, if it is not there; the caller has the lock."""
        if any(_is_same(path, part.folder) for path in self.indexed().values()):
            return
        from hashlib import sha256

        octets = os.fsencode(part.folder)
        name = f"{_INDEX}/{sha256(octets).hexdigest()[:32]}"
        self.default.make_folder(_INDEX)
        self.default.replace(name, octets + b"\n", modified_ns=time.time_ns())

    def _note_what_earlier_versions_wrote(self) -> None:
        """Add the folder to the index if it has records of versions without an index."""
        if self.home is self.default or self._looks_only:
            return
        with suppress(AmdcniError):
            if self.home.device_keys():
                with self.default.lock(_INDEX, 0):
                    self._note(self.home)

    def _drop(self, part: Store) -> None:
        """Remove a folder without records from the index; the caller has the lock."""
        if part.unfinished() or part.device_keys():
            return
        for entry, path in self.indexed().items():
            if _is_same(path, part.folder):
                os.unlink(entry)

    def _drop_stale_markers(self, key: DeviceKey, keeper: Store) -> None:
        """Let no folder but the record's own have a marker of unfinished work for it."""
        for part in self.parts:
            if part is not keeper and key in part.unfinished() and key not in part.device_keys():
                part.forget(key)

    def require_writable(self) -> None:
        """Raise StateFailure unless a record and the index could be written now."""
        self.home.require_writable()
        if self.default is not self.home:
            self.default.require_writable()

    # ---- locking

    @contextmanager
    def lock(self, device: str, wait_s: float) -> Iterator[None]:
        """Exclude every other process from `device`; raises DeviceBusy, StateFailure.

        The lock of the default folder excludes calls with another `dataDir`; that of the folder
        itself, if there is one, excludes earlier versions.  One of them suffices if the other
        cannot be taken: no ADD works then, but a DEL must.
        """
        with ExitStack() as held:
            failure = self._try_lock(self.default, device, wait_s, held)
            if self.home is not self.default and (failure or os.path.isdir(self.home.folder)):
                other = self._try_lock(self.home, device, wait_s, held)
                failure = other and failure
            if failure is not None:
                raise failure
            self._locked.add(device)
            held.callback(self._locked.discard, device)
            self._note_what_earlier_versions_wrote()
            yield

    def is_locked(self, device: str) -> bool:
        """Whether a process has the lock of `device` now; nothing is locked, made or waited for."""
        return any(part.is_locked(device) for part in {self.default, self.home})

    def _try_lock(
        self, part: Store, device: str, wait_s: float, held: ExitStack
    ) -> StateFailure | None:
        try:
            held.enter_context(part.lock(device, wait_s))
        except StateFailure as failure:
            return failure
        return None

    def holds(self, device: str) -> bool:
        """Whether this process has the lock."""
        return device in self._locked

    @property
    def held_locks(self) -> tuple[int, ...]:
        """The descriptors of the locks that are held, for plugins that are called to inherit."""
        folders = (self.home,) if self.home is self.default else (self.default, self.home)
        return tuple(fd for part in folders for fd in part.held_locks)


def _is_same(path: str, other: str) -> bool:
    """Whether both are the same folder, even under two names."""
    if os.path.realpath(path) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False
