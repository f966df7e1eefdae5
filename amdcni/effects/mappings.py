"""The file in which AMD's Go plugin noted what it lent: read, and cleared of used entries.

It is not ours: whatever is wrong with it is reported and left as it is; the call still succeeds.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from amdcni.core import codec, formats
from amdcni.core.errors import UndecodableInput
from amdcni.core.mapping import GoMapping
from amdcni.core.names import PciAddress
from amdcni.effects.store import Store
from amdcni.effects.trust import is_private, open_to_read

FILE_NAME: Final = "ip-interface-mappings.json"

_LOCK_WAIT_S: Final = 10.0
_NS: Final = 1_000_000_000


class Mappings:
    """The Go plugin's file in the folder of a store, which locks it and writes it."""

    def __init__(self, folder: str, store: Store, report: Callable[..., None]) -> None:
        self._path = Path(folder) / FILE_NAME
        self._store = store
        self._report = report
        self._reported: set[str] = set()

    def read(self) -> tuple[GoMapping, ...]:
        """The entries that can be read; what is wrong with the others is reported once."""
        contents = self._contents()
        if contents is None:
            return ()
        data, modified_ns = contents
        try:
            found, faults = formats.parse_mappings(data, _boottime_s(modified_ns))
        except UndecodableInput as failure:
            self._report_once(failure.message)
            return ()
        if faults:
            self._report_once("; ".join(faults))
        return found

    def remove(self, device: PciAddress) -> None:
        """Remove the entry of `device` durably; raises StateFailure, DeviceBusy.

        The file keeps the time of its last change, which shows the boot of the other entries.
        """
        if self._without(device) is None:
            return
        with self._store.lock(FILE_NAME, _LOCK_WAIT_S):
            left = self._without(device)
            if left is not None:
                rest, modified_ns = left
                self._store.replace(FILE_NAME, rest, modified_ns=modified_ns)

    def _without(self, device: PciAddress) -> tuple[bytes, int] | None:
        """The contents without the entry of `device`; None if there is nothing to remove."""
        contents = self._contents()
        if contents is None:
            return None
        data, modified_ns = contents
        try:
            rest = formats.without_mapping(data, device)
        except UndecodableInput as failure:
            self._report_once(failure.message)
            return None
        return None if rest is None else (rest, modified_ns)

    def _contents(self) -> tuple[bytes, int] | None:
        """What is in the file, and when that was written; None if it cannot be read."""
        try:
            fd = open_to_read(self._path, in_private=is_private(self._store.folder))
            with os.fdopen(fd, "rb") as file:
                data = file.read(codec.MAX_INPUT_BYTES + 1)
                return data, os.fstat(file.fileno()).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._report_once(f"it cannot be read: {error.strerror}")
            return None

    def _report_once(self, reason: str) -> None:
        if reason not in self._reported:
            self._reported.add(reason)
            self._report("mappings-ignored", path=str(self._path), reason=reason)


def _boottime_s(wall_ns: int) -> int:
    """A time of the wall clock on CLOCK_BOOTTIME of this boot, in whole seconds."""
    ago_ns = time.time_ns() - wall_ns
    return (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ago_ns) // _NS
