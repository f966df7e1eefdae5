"""The settings of `ethtool` by generic netlink: one message for each group of them.

The numbers are those of linux/ethtool_netlink.h.  A message about a group has the same attributes
in the answer to a query and in a request to set them.
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from amdcni.core.aspects.ethtool import SetEthtool, Setting
from amdcni.effects.messages.common import number_of, octets_of_text, text_of, u8, u32
from amdcni.effects.messages.generic import COMMAND
from amdcni.effects.rtnetlink import Reply, Request, attribute, attributes_in, nested

FAMILY: Final = "ethtool"
_VERSION: Final = 1
_HEADER: Final = 1
_HEADER_DEV_INDEX: Final = 1
_HEADER_FLAGS: Final = 3
_COMPACT_BITSETS: Final = 1

_BITSET_BITS: Final = 3
_BITSET_VALUE: Final = 4
_BITS_BIT: Final = 1
_BIT_INDEX: Final = 1
_BIT_NAME: Final = 2
_BIT_VALUE: Final = 3


COMMANDS: Final[Mapping[str, int]] = {
    "private-flags": 13,
    "channels": 17,
    "rings": 15,
    "coalescing": 19,
    "features": 11,
    "link": 4,
    "port": 2,
    "pause": 21,
    "fec": 29,
    "eee": 23,
    "wake-on-lan": 9,
    "messages": 7,
}
"""The command that asks for each group, in the order of asking; the next number is to set it."""

NUMBERS: Final[Mapping[str, Mapping[str, int]]] = {
    "channels": {"rx": 6, "tx": 7, "other": 8, "combined": 9},
    "rings": {
        **{"rx": 6, "rx-mini": 7, "rx-jumbo": 8, "tx": 9, "rx-buffer-length": 10},
        **{"tcp-data-split": 11, "cqe-size": 12, "tx-push": 13, "rx-push": 14},
        **{"tx-push-buffer-length": 15, "hds-threshold": 17},
    },
    "coalescing": {
        **{"rx-usecs": 2, "rx-frames": 3, "rx-usecs-irq": 4, "rx-frames-irq": 5},
        **{"tx-usecs": 6, "tx-frames": 7, "tx-usecs-irq": 8, "tx-frames-irq": 9},
        **{"stats-block-usecs": 10, "adaptive-rx": 11, "adaptive-tx": 12, "pkt-rate-low": 13},
        **{"rx-usecs-low": 14, "rx-frames-low": 15, "tx-usecs-low": 16, "tx-frames-low": 17},
        **{"pkt-rate-high": 18, "rx-usecs-high": 19, "rx-frames-high": 20},
        **{"tx-usecs-high": 21, "tx-frames-high": 22, "sample-interval": 23},
        **{"cqe-mode-tx": 24, "cqe-mode-rx": 25},
        **{"tx-aggr-max-bytes": 26, "tx-aggr-max-frames": 27, "tx-aggr-time-usecs": 28},
    },
    "link": {"autoneg": 2, "speed": 5, "duplex": 6, "master-slave": 7, "lanes": 9},
    "port": {"mdix": 5},
    "pause": {"autoneg": 2, "rx": 3, "tx": 4},
    "fec": {"auto": 3},
    "eee": {"enabled": 5, "tx-lpi": 6, "tx-lpi-timer": 7},
}
"""The attributes that are numbers."""

_OCTETS: Final = frozenset(
    {
        *("rings/tcp-data-split", "rings/tx-push", "rings/rx-push"),
        *("coalescing/adaptive-rx", "coalescing/adaptive-tx"),
        *("coalescing/cqe-mode-tx", "coalescing/cqe-mode-rx"),
        *("link/autoneg", "link/duplex", "link/master-slave", "port/mdix"),
        *("pause/autoneg", "pause/rx", "pause/tx", "fec/auto", "eee/enabled", "eee/tx-lpi"),
    }
)
"""The numbers that are single octets; all others have four."""

_SETS: Final[Mapping[str, tuple[str, int]]] = {
    "features": ("on", 3),
    "link": ("advertised", 3),
    "fec": ("modes", 2),
    "eee": ("modes", 2),
    "wake-on-lan": ("modes", 2),
    "messages": ("classes", 2),
}
"""The attribute that is a set of bits."""

_FEATURES_HW: Final = 2
_PRIVFLAGS: Final = 2
_UNSUPPORTED: Final = {"port/mdix": 0, "link/master-slave": 0}
"""What stands for a setting that the driver does not have."""


def queries(family: int, ifindex: int, groups: Collection[str]) -> Iterator[tuple[str, Request]]:
    """The query for each of the groups that messages are about, with its name."""
    compact, in_words = _header(ifindex, _COMPACT_BITSETS), _header(ifindex)
    for group, command in COMMANDS.items():
        if group not in groups:
            continue
        header = in_words if group == "private-flags" else compact
        yield group, Request(family, 0, COMMAND.pack(command, _VERSION, 0) + header)


def query_in_words(family: int, ifindex: int, group: str) -> Request:
    """The query for a group whose answer has the names of the bits in sets."""
    return Request(family, 0, COMMAND.pack(COMMANDS[group], _VERSION, 0) + _header(ifindex))


def _header(ifindex: int, flags: int = 0) -> bytes:
    return nested(
        _HEADER,
        attribute(_HEADER_DEV_INDEX, u32(ifindex)),
        attribute(_HEADER_FLAGS, u32(flags)),
    )


def settings_in(reply: Reply, group: str) -> Iterator[tuple[str, int | str]]:
    """The settings in an answer, each with the name of its group before its own."""
    found = dict(attributes_in(reply.body, COMMAND.size))
    if group == "features":
        hardware, wanted = _bits(found.get(_FEATURES_HW)), _bits(found.get(_SETS[group][1]))
        yield "features/on", hex(hardware & wanted)
        yield "features/off", hex(hardware & ~wanted)
        return
    if group == "private-flags":
        for _, name, is_on in _named_bits(found.get(_PRIVFLAGS, b"")):
            yield f"{group}/{name}", int(is_on)
        return
    for name, kind in NUMBERS.get(group, {}).items():
        value = number_of(found.get(kind))
        path = f"{group}/{name}"
        if value is not None and _UNSUPPORTED.get(path) != value:
            yield path, value
    name, kind = _SETS.get(group, ("", 0))
    if kind in found:
        yield f"{group}/{name}", hex(_bits(found[kind]))


def _bits(bitset: bytes | None) -> int:
    """The bits of a compact set: words of 32, the lowest first."""
    value = b"" if bitset is None else dict(attributes_in(bitset, 0)).get(_BITSET_VALUE, b"")
    words = struct.unpack(f"={len(value) // 4}I", value)
    return sum(word << 32 * place for place, word in enumerate(words))


def _named_bits(bitset: bytes) -> Iterator[tuple[int, str, bool]]:
    """The number, the name and the value of each bit in a set that is not compact."""
    for _, each in attributes_in(dict(attributes_in(bitset, 0)).get(_BITSET_BITS, b""), 0):
        bit = dict(attributes_in(each, 0))
        yield (
            number_of(bit.get(_BIT_INDEX)) or 0,
            text_of(bit.get(_BIT_NAME)) or "",
            _BIT_VALUE in bit,
        )


def bit_names_in(reply: Reply, group: str) -> tuple[str, dict[int, str]]:
    """A set in an answer that was asked for in words, and the names of its bits."""
    name, kind = _SETS[group]
    found = dict(attributes_in(reply.body, COMMAND.size))
    bitset = found.get(_FEATURES_HW if group == "features" else kind, b"")
    return f"{group}/{name}", {bit: called for bit, called, _ in _named_bits(bitset)}


def groups_with_sets(paths: Collection[str]) -> list[str]:
    """The groups of the settings that have sets of bits, whose names only the kernel knows."""
    groups = {path.partition("/")[0] for path in paths}
    return [group for group in _SETS if group in groups]


_RSS_GET: Final = 38
_RSS_CONTEXT: Final = 2


def contexts_query(family: int, ifindex: int) -> Request:
    """The query for all RSS contexts of a netdev."""
    return Request(family, 0, COMMAND.pack(_RSS_GET, _VERSION, 0) + _header(ifindex))


def context_of(reply: Reply) -> int:
    """The number of the RSS context in a message; 0 for the one that every netdev has."""
    return number_of(dict(attributes_in(reply.body, COMMAND.size)).get(_RSS_CONTEXT)) or 0


def put(family: int, ifindex: int, change: SetEthtool) -> Request:
    """The request to make a change."""
    group = change.group
    attributes = []
    bits = []
    for each in change.settings:
        if each.bit is not None or group == "private-flags":
            bits.append(_flag(each))
        else:
            octets = u8 if f"{group}/{each.name}" in _OCTETS else u32
            attributes.append(attribute(NUMBERS[group][each.name], octets(int(each.value))))
    if bits:
        kind = _PRIVFLAGS if group == "private-flags" else _SETS[group][1]
        attributes.append(nested(kind, nested(_BITSET_BITS, *bits)))
    body = COMMAND.pack(COMMANDS[group] + 1, _VERSION, 0) + _header(ifindex)
    return Request(family, 0, body + b"".join(attributes))


def _flag(setting: Setting) -> bytes:
    """The bit of a set: by its number if it has one, otherwise by its name."""
    if setting.bit is None:
        which = attribute(_BIT_NAME, octets_of_text(setting.name))
    else:
        which = attribute(_BIT_INDEX, u32(setting.bit))
    return nested(_BITS_BIT, which, *([attribute(_BIT_VALUE, b"")] if setting.value else []))
