"""The settings of `ethtool` that generic netlink does not have on every kernel, as ioctl commands.

The structures are those of linux/ethtool.h: `ethtool_rxfh`, `ethtool_rxnfc`, `ethtool_tunable`.
"""

import struct
from collections.abc import Mapping
from typing import Final

from amdcni.core.aspects.ethtool import SetEthtool
from amdcni.core.host import Values

# ---- how packets are spread over the queues: command, context, entries of the table, octets of the
# key, hash function, symmetry; then the table and the key

_RSS: Final = struct.Struct("=IIIIBB6x")
_GRSSH: Final = 0x46
_SRSSH: Final = 0x47
_SAME_TABLE: Final = 0xFFFFFFFF
_ENTRY_BYTES: Final = 4


def rss_query(entries: int = 0, key_bytes: int = 0) -> bytes:
    """The query for the sizes of table and key, or for both, given their sizes."""
    asked = _RSS.pack(_GRSSH, 0, entries, key_bytes, 0, 0)
    return asked + bytes(_ENTRY_BYTES * entries + key_bytes)


def rss_sizes(answer: bytes) -> tuple[int, int]:
    """How many entries the table has, and how many octets the key."""
    _, _, entries, key_bytes, _, _ = _RSS.unpack_from(answer)
    return entries, key_bytes


def rss_in(answer: bytes) -> Values:
    """The settings in an answer."""
    _, _, entries, key_bytes, function, symmetry = _RSS.unpack_from(answer)
    table = struct.unpack_from(f"={entries}I", answer, _RSS.size)
    key = answer[_RSS.size + _ENTRY_BYTES * entries :][:key_bytes]
    found: dict[str, int | str] = {}
    if entries or key_bytes:
        found |= {"rss/function": function, "rss/symmetry": symmetry}
    if entries:
        found["rss/table"] = " ".join(map(str, table))
    if key_bytes:
        found["rss/key"] = key.hex()
    return found


def put_rss(change: SetEthtool, now: bytes) -> bytes:
    """The command to make the change; `now` is the present answer, whose symmetry stays otherwise.

    A size or a hash function of 0 stands for no change, but a table of no entries for the driver's
    own.
    """
    wanted = {each.name: each.value for each in change.settings}
    table = [int(entry) for entry in str(wanted["table"]).split()] if "table" in wanted else None
    key = bytes.fromhex(str(wanted.get("key", "")))
    entries = _SAME_TABLE if table is None else len(table)
    *_, symmetry = _RSS.unpack_from(now)
    function, symmetry = int(wanted.get("function", 0)), int(wanted.get("symmetry", symmetry))
    fixed = _RSS.pack(_SRSSH, 0, entries, len(key), function, symmetry)
    return fixed + struct.pack(f"={len(table or ())}I", *(table or ())) + key


# ---- which fields of a packet are hashed, and rules for packets: command, kind of packets, value;
# then a rule, and how many rules there are

_RXNFC: Final = struct.Struct("=IIQ168xI4x")
_GRXFH: Final = 0x29
_SRXFH: Final = 0x2A
_GRXCLSRLCNT: Final = 0x2E
_GRXCLSRLALL: Final = 0x30
_RULES_OFFSET: Final = 188

PACKETS: Final[Mapping[str, int]] = {
    **{"tcp4": 1, "udp4": 2, "sctp4": 3, "ah-esp4": 4, "tcp6": 5, "udp6": 6, "sctp6": 7},
    **{"ah-esp6": 8, "ah4": 9, "esp4": 10, "ah6": 11, "esp6": 12},
}
"""The kinds of packets by their names."""


def hash_query(packets: str) -> bytes:
    """The query for the fields that are hashed of a kind of packets."""
    return _RXNFC.pack(_GRXFH, PACKETS[packets], 0, 0)


def hash_in(answer: bytes) -> int:
    """The fields in an answer."""
    _, _, fields, _ = _RXNFC.unpack_from(answer)
    return int(fields)


def put_hash(packets: str, fields: int) -> bytes:
    """The command to set the fields."""
    return _RXNFC.pack(_SRXFH, PACKETS[packets], fields, 0)


def rules_query(count: int = 0) -> bytes:
    """The query for how many rules there are, or for the number of each of so many."""
    command = _GRXCLSRLALL if count else _GRXCLSRLCNT
    return _RXNFC.pack(command, 0, 0, count) + bytes(_ENTRY_BYTES * count)


def rule_count(answer: bytes) -> int:
    """How many rules there are."""
    *_, count = _RXNFC.unpack_from(answer)
    return int(count)


def rules_in(answer: bytes) -> tuple[int, ...]:
    """The numbers of the rules in an answer."""
    return struct.unpack_from(f"={rule_count(answer)}I", answer, _RULES_OFFSET)


# ---- tunables: command, tunable, type, octets; then the value

_TUNABLE: Final = struct.Struct("=IIII")
_GTUNABLE: Final = 0x48
_STUNABLE: Final = 0x49


_U16: Final = 2  # enum tunable_type_id
_U32: Final = 3

TUNABLES: Final[Mapping[str, tuple[int, int, struct.Struct]]] = {
    "rx-copybreak": (1, _U32, struct.Struct("=I")),
    "tx-copybreak": (2, _U32, struct.Struct("=I")),
    "pfc-prevention-timeout": (3, _U16, struct.Struct("=H")),
    "tx-copybreak-buffer-size": (4, _U32, struct.Struct("=I")),
}
"""The tunables by their names: number, type, and how the value is packed."""


def tunable_query(name: str) -> bytes:
    """The query for a tunable."""
    return _tunable(_GTUNABLE, name, 0)


def tunable_in(answer: bytes, name: str) -> int:
    """The value in an answer."""
    *_, form = TUNABLES[name]
    (value,) = form.unpack_from(answer, _TUNABLE.size)
    return int(value)


def put_tunable(name: str, value: int) -> bytes:
    """The command to set a tunable."""
    return _tunable(_STUNABLE, name, value)


def _tunable(command: int, name: str, value: int) -> bytes:
    number, kind, form = TUNABLES[name]
    return _TUNABLE.pack(command, number, kind, form.size) + form.pack(value)
