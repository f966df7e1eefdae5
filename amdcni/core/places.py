"""Where the configuration may make root write: records, log lines, and the leases of IPAM plugins.

Definitions are written by people who need not be root, so only folders that are ours by name, and
those that the node's policy adds, are used.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from amdcni.core.names import FilePath
from amdcni.core.policy import POLICY_PATH, Policy
from amdcni.core.request import DEFAULT_DATA_DIR, Network
from amdcni.core.spec import Json

_NAMES_IN_STATE: Final = frozenset({"unfinished", "multipath", "several", "locks", "folders"})
"""What a state folder has folders for; nothing else may be put into these."""

OURS: Final = (
    "/var/lib/cni/amd-host-device",
    "/run/amd-host-device",
    "/var/log/amd-host-device",
)
"""Where root may write without a policy: there, and where the last part of the path goes on."""

LEASES: Final = ("/var/lib/cni/networks", "/run/cni/networks")
"""Where IPAM plugins keep their leases; likewise."""

_PATHS_OF_IPAM: Final = ("dataDir", "logFile", "log_file")
"""Keys of `ipam` that make IPAM plugins known to us write somewhere."""


@attrs.frozen
class Place:
    """A path below which root may write: `base` is the folder that has to be there already.

    The parts of `path` below `base` may not be symbolic links.
    """

    base: str
    path: FilePath


@attrs.frozen
class Places:
    """Where a call keeps records and log lines, and what the configuration may not use.

    `faults` are in words, each with its key and the remedy.
    """

    data_dir: Place
    log_file: Place | None = None
    faults: tuple[str, ...] = ()


def places_of(network: Network, policy: Policy) -> Places:
    """What a configuration may use of what it names; the rest is replaced, and is a fault."""
    faults = []
    data_dir = find_data_dir(network.data_dir, policy)
    if data_dir is None:
        faults.append(_fault("dataDir", network.data_dir, OURS))
    log_file, wanted = None, network.log.file
    if wanted is not None:
        log_file = _place(wanted, policy.folders, OURS)
        if log_file is None:
            faults.append(_fault("logFile", wanted, OURS))
        elif _is_for_records(wanted):
            log_file = None
            faults.append(f"logFile {wanted!r} has the name of a record or of the state folder")
    faults += _faults_of_ipam(network.raw, policy.folders)
    return Places(data_dir or default_place(), log_file, tuple(faults))


def find_data_dir(path: str, policy: Policy) -> Place | None:
    """The state folder at `path`; None if definitions may not use it."""
    return _place(path, policy.folders, OURS)


def default_place() -> Place:
    """The default state folder."""
    place = _place(DEFAULT_DATA_DIR, (), OURS)
    assert place is not None
    return place


def _is_for_records(path: str) -> bool:
    """Whether a log file there would be a record, or in the way of one."""
    return ".json" in path.rpartition("/")[2] or path == DEFAULT_DATA_DIR


def _place(path: str, folders: Iterable[str], ours: Iterable[str]) -> Place | None:
    """Where root writes if it writes to `path`; None if it may not."""
    if any(part in ("", ".", "..") for part in path.split("/")[1:]):
        return None
    for start in (*(f"{folder}/" for folder in folders), *ours):
        if f"{path}/".startswith(start) if start.endswith("/") else path.startswith(start):
            base = start.rstrip("/").rpartition("/")[0] or "/"
            below = path[len(base) :].split("/")
            return None if _NAMES_IN_STATE.intersection(below) else Place(base, FilePath(path))
    return None


def _fault(key: str, path: str, ours: Iterable[str]) -> str:
    usable = ", ".join(f"{prefix}*" for prefix in ours)
    return (
        f"{key} {path!r} is in no folder where definitions may make root write ({usable}); "
        f'to allow it, add its folder to "folders" in {POLICY_PATH}'
    )


def _faults_of_ipam(raw: Json, folders: Iterable[str]) -> Iterator[str]:
    ipam: Any = raw.get("ipam")
    if not isinstance(ipam, dict):
        return
    usable = (*LEASES, *OURS)
    for key in _PATHS_OF_IPAM:
        path = ipam.get(key)
        if isinstance(path, str) and path and _place(path, folders, usable) is None:
            yield _fault(f"ipam.{key}", path, usable)
