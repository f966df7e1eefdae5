"""The CNI versions that are supported, and which verb needs which (CNI SPEC 1.1, "Version")."""

from typing import Final, NewType

from amdcni.core.errors import UnsupportedVersion

CniVersion = NewType("CniVersion", str)
"""One of `SUPPORTED`; made by `parse_version`."""

SUPPORTED: Final[tuple[CniVersion, ...]] = tuple(
    map(CniVersion, ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"))
)
"""Every supported version, the oldest first."""

NEWEST: Final = SUPPORTED[-1]
"""The version of an answer where none is asked for."""

OLDEST: Final = SUPPORTED[0]
"""The version of a configuration that does not say its own."""

INTERFACES_SINCE: Final = CniVersion("0.3.0")
"""Results list interfaces and any number of addresses; before, one address per family."""

CHECK_SINCE: Final = CniVersion("0.4.0")
"""The verb CHECK exists."""

GC_AND_STATUS_SINCE: Final = CniVersion("1.1.0")
"""The verbs GC and STATUS exist."""


def parse_version(text: str) -> CniVersion:
    """The version that `text` names; an empty text means 0.1.0, as runtimes expect.

    Raises: UnsupportedVersion.
    """
    if text == "":
        return OLDEST
    if text not in SUPPORTED:
        raise UnsupportedVersion(
            f"cniVersion {text!r} is not supported; supported are {', '.join(SUPPORTED)}"
        )
    return CniVersion(text)


def at_least(version: CniVersion, needed: CniVersion) -> bool:
    """Whether `version` is `needed` or newer, both being supported ones."""
    return SUPPORTED.index(version) >= SUPPORTED.index(needed)


def plugin_info() -> dict[str, object]:
    """The answer to VERSION: all supported versions, and as `cniVersion` the newest of them."""
    return {"cniVersion": NEWEST, "supportedVersions": list(SUPPORTED)}
