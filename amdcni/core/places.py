"""Where the configuration may make root write: records, log lines, and the leases of IPAM plugins.

Definitions are written by people who need not be root, so only folders that are ours by name, and
those that the node's policy adds, are used.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from amdcni.core.codec.text import shown
from amdcni.core.errors import InvalidName
from amdcni.core.names import FilePath, parse_file_path
from amdcni.core.policy import POLICY_PATH, Policy
from amdcni.core.request import DEFAULT_DATA_DIR, Network
from amdcni.core.spec import Json

_NAMES_IN_STATE: Final = frozenset({"unfinished", "multipath", "several", "locks", "folders"})
"""What a state folder has folders for; nothing else may be put into these."""

_MOST_BYTES: Final = 1024
"""The longest path: much below PATH_MAX, so that every file below such a folder can be made."""

_MOST_BYTES_OF_NAME: Final = 255
"""NAME_MAX."""

_MOST_FAULTS: Final = 20
_SHOWN_CHARACTERS: Final = 60

OURS: Final = (
    "/var/lib/cni/amd-host-device",
    "/run/amd-host-device",
    "/var/log/amd-host-device",
)
"""Where root may write without a policy: there, and where the last part of the path goes on."""

LEASES: Final = ("/var/lib/cni/networks", "/run/cni/networks")
"""Where IPAM plugins keep their leases; likewise.

Not in our own folders: their files are named as the network, and that may be named as a record.
"""

_PATHS_OF_IPAM: Final = {
    "datadir": LEASES,
    "logfile": OURS,
    "log_file": OURS,
    "daemonsocketpath": ("/run/cni/dhcp",),
}
"""Keys that make IPAM plugins known to us write somewhere, and where they may.

In small letters: plugins in Go accept a key in any case.
"""


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

    `faults` are in words, each with its key and the remedy.  `raw` is the configuration for other
    plugins, without what they may not use.
    """

    data_dir: Place
    log_file: Place | None
    raw: Json
    faults: tuple[str, ...] = ()


@attrs.frozen
class _Fault:
    words: str


def places_of(network: Network, policy: Policy) -> Places:
    """What a configuration may use of what it names; the rest is replaced, and is a fault."""
    data_dir = _judged("dataDir", network.data_dir, policy.folders, OURS)
    log_file = None
    if network.log.file is not None:
        log_file = _judged("logFile", network.log.file, policy.folders, OURS)
    named = [each.words for each in (data_dir, log_file) if isinstance(each, _Fault)]
    unwanted = set()
    for at, value in _paths_of_ipam(network.raw):
        fault = _fault_of_ipam(at, value, network, policy.folders)
        if fault is not None:
            unwanted.add(at)
            named += [fault] if len(named) < _MOST_FAULTS else []
    return Places(
        default_place() if isinstance(data_dir, _Fault) else data_dir,
        None if isinstance(log_file, _Fault) else log_file,
        _without(network.raw, unwanted),
        tuple(named),
    )


def find_data_dir(path: str, policy: Policy) -> Place | None:
    """The state folder at `path`; None if definitions may not use it."""
    found = _judged("dataDir", FilePath(path), policy.folders, OURS)
    return None if isinstance(found, _Fault) else found


def default_place() -> Place:
    """The default state folder."""
    return Place(DEFAULT_DATA_DIR.rpartition("/")[0], DEFAULT_DATA_DIR)


def _judged(
    key: str, path: FilePath, folders: Iterable[str], ours: Iterable[str]
) -> Place | _Fault:
    """Where root writes if it writes to `path`; a `/` at its end makes no difference."""
    path = FilePath(path.rstrip("/") or "/")
    begun = f"{key} {path[:_SHOWN_CHARACTERS]!r}..."
    if len(_octets(path)) > _MOST_BYTES:
        return _Fault(f"{begun} is longer than {_MOST_BYTES} bytes")
    if any(len(_octets(part)) > _MOST_BYTES_OF_NAME for part in path.split("/")):
        return _Fault(f"{begun} has a part of more than {_MOST_BYTES_OF_NAME} bytes")
    base = _base_of(path, folders, ours)
    if base is None:
        usable = ", ".join(f"{prefix}*" for prefix in ours)
        return _Fault(
            f"{key} {path!r} is in no folder where definitions may make root write ({usable}); "
            f'to allow it, add its folder to "folders" in {POLICY_PATH}'
        )
    _, *below = path[len(base) :].strip("/").split("/")
    if any(map(_is_of_state, below)) or (path == DEFAULT_DATA_DIR and key != "dataDir"):
        return _Fault(
            f"{key} {path!r} has the name of a record or of another part of a state folder"
        )
    return Place(base, path)


def _octets(path: str) -> bytes:
    return path.encode(errors="surrogateescape")


def _base_of(path: str, folders: Iterable[str], ours: Iterable[str]) -> str | None:
    if any(part in ("", ".", "..") for part in path.split("/")[1:]):
        return None
    for folder in folders:
        if f"{path}/".startswith(f"{folder}/"):
            return folder.rpartition("/")[0] or "/"
    return next((each.rpartition("/")[0] for each in ours if path.startswith(each)), None)


def _is_of_state(name: str) -> bool:
    """Whether a state folder has files or folders of such a name."""
    return name in _NAMES_IN_STATE or ".json" in name or name.startswith(".")


# ---- IPAM plugins ------------------------------------------------------------------------------

_At = tuple[str | int, ...]
"""Where a value is in the configuration: the keys and indexes that lead to it."""


def _paths_of_ipam(raw: Json) -> Iterator[tuple[_At, Any]]:
    """What the configuration names as paths for IPAM plugins, even if it is none."""
    given = (each for key in raw if key.casefold() == "ipam" for each in _members(raw[key], (key,)))
    for at, value in given:
        if _usable_as(at[-1]) is not None and value not in (None, ""):
            yield at, value


def _usable_as(key: str | int) -> tuple[str, ...] | None:
    return _PATHS_OF_IPAM.get(key.casefold()) if isinstance(key, str) else None


def _fault_of_ipam(at: _At, value: Any, network: Network, folders: Iterable[str]) -> str | None:
    """What is wrong with a path for an IPAM plugin, in words; None if it may be used."""
    key = ".".join(str(part)[:_SHOWN_CHARACTERS] for part in at)
    usable = _usable_as(at[-1]) or ()
    try:
        path = parse_file_path(value if isinstance(value, str) else "")
    except InvalidName:
        return f"{key} is {shown(value)}, not an absolute path"
    found = _judged(key, path, folders, usable)
    if isinstance(found, _Fault):
        return found.words
    if not path.startswith(usable) and _is_of_state(network.name):
        # A folder of the policy may hold records, too, and leases are in one named as the network.
        return f"{key} {path!r} may not be used by a network named {network.name!r}"
    return None


def _members(value: Any, at: _At = ()) -> Iterator[tuple[_At, Any]]:
    """All values in `value`, at any depth: input is never deeper than `codec.text.MAX_DEPTH`."""
    pairs: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, inner in pairs:
        yield (*at, key), inner
        yield from _members(inner, (*at, key))


def _without(value: Any, unwanted: set[_At], at: _At = ()) -> Any:
    if not unwanted:
        return value
    if isinstance(value, dict):
        return {
            key: _without(inner, unwanted, (*at, key))
            for key, inner in value.items()
            if (*at, key) not in unwanted
        }
    if isinstance(value, list):
        return [_without(inner, unwanted, (*at, n)) for n, inner in enumerate(value)]
    return value
