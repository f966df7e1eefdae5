"""What `ethtool` shows and sets of netdevs, by ioctl (linux/ethtool.h); a script of `scripts`."""

import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
from array import array

_SIOCETHTOOL = 0x8946
_NAME_BYTES = 32
_FEATURES = 4
_PRIVATE_FLAGS = 2
_RSS_HEAD = 24
_LINK_HEAD = 48

_STRUCTURES = {
    "message level": (0x07, 0x08, ("mask",), 0),
    "wake-on-LAN": (0x05, 0x06, ("supported", "modes"), 1),
    "rings": (0x10, 0x11, ("", "", "", "", "rx", "rx-mini", "rx-jumbo", "tx"), 4),
    "channels": (0x3C, 0x3D, ("", "", "", "", "rx", "tx", "other", "combined"), 4),
    "pause": (0x12, 0x13, ("autoneg", "rx", "tx"), 0),
    "coalescing": (
        0x0E,
        0x0F,
        (
            *("rx-usecs", "rx-frames", "rx-usecs-irq", "rx-frames-irq"),
            *("tx-usecs", "tx-frames", "tx-usecs-irq", "tx-frames-irq"),
            *("stats-block-usecs", "adaptive-rx", "adaptive-tx", "pkt-rate-low"),
            *("rx-usecs-low", "rx-frames-low", "tx-usecs-low", "tx-frames-low", "pkt-rate-high"),
            *("rx-usecs-high", "rx-frames-high", "tx-usecs-high", "tx-frames-high"),
            "sample-interval",
        ),
        0,
    ),
}
"""The commands to get and set a structure of 32-bit numbers, their names, and which are settings.

Those from the given place on are; before them are limits.
"""
_WOL_BYTES = 20


def main() -> None:
    """Print a JSON object with the settings of each netdev, by names such as `rings rx`."""
    found = {}
    for _, ifname in socket.if_nameindex():
        # A netdev may go at any time.
        with contextlib.suppress(OSError):
            found[ifname] = _settings_of(ifname)
    json.dump(found, sys.stdout)


def change(ifname: str, kind: str, name: str, value: str) -> None:
    """Set `name` of a `kind`: a feature to `on` or `off`, a number in a structure, or the speed."""
    if kind == "feature":
        names = _strings(ifname, _FEATURES)
        block, bit = divmod(names.index(name), 32)
        blocks = [0, 0] * ((len(names) + 31) // 32)
        blocks[2 * block] = 1 << bit
        blocks[2 * block + 1] = 1 << bit if value == "on" else 0
        _run(ifname, struct.pack(f"=II{len(blocks)}I", 0x3B, len(blocks) // 2, *blocks))
    elif kind == "private flag":
        bit = 1 << _strings(ifname, _PRIVATE_FLAGS).index(name)
        _, flags = struct.unpack("=II", _run(ifname, struct.pack("=II", 0x27, 0)))
        flags = flags | bit if value == "on" else flags & ~bit
        _run(ifname, struct.pack("=II", 0x28, flags))
    elif kind == "link":
        _change_link(ifname, name, int(value))
    elif kind == "RSS table":
        _change_table(ifname, [int(entry) for entry in value.split(",")])
    else:
        get, put, numbered, _ = _STRUCTURES[kind]
        numbers = list(_numbers(ifname, get, len(numbered)))
        numbers[numbered.index(name)] = int(value)
        command = struct.pack(f"=I{len(numbers)}I", put, *numbers)
        _run(ifname, command.ljust(_WOL_BYTES, b"\0"))


def _settings_of(ifname: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, (get, _, names, first) in _STRUCTURES.items():
        with contextlib.suppress(OSError):
            numbers = _numbers(ifname, get, len(names))
            for name, number in list(zip(names, numbers, strict=True))[first:]:
                found[f"{kind} {name}"] = str(number)
    if found.get("pause autoneg") == "1":
        # What both ends of the link have agreed on.
        del found["pause rx"], found["pause tx"]
    for read in (_features, _private_flags, _link, _rss):
        with contextlib.suppress(OSError):
            found |= read(ifname)
    return found


def _features(ifname: str) -> dict[str, str]:
    names = _strings(ifname, _FEATURES)
    count = (len(names) + 31) // 32
    answer = _run(ifname, struct.pack("=II", 0x3A, count).ljust(8 + 16 * count, b"\0"))
    blocks = struct.unpack_from(f"={4 * count}I", answer, 8)
    found = {}
    for position, name in enumerate(names):
        available, requested, *_ = blocks[4 * (position // 32) :]
        if available >> position % 32 & 1:
            found[f"feature {name}"] = "on" if requested >> position % 32 & 1 else "off"
    return found


def _private_flags(ifname: str) -> dict[str, str]:
    _, flags = struct.unpack("=II", _run(ifname, struct.pack("=II", 0x27, 0)))
    names = _strings(ifname, _PRIVATE_FLAGS)
    return {
        f"private flag {name}": "on" if flags >> position & 1 else "off"
        for position, name in enumerate(names)
    }


def _link(ifname: str) -> dict[str, str]:
    head, masks = _link_settings(ifname)
    _, speed, duplex, _, _, autoneg, _, _, mdix = struct.unpack_from("=IIBBBBBBB", head)
    found = {"link autoneg": str(autoneg), "link mdix": str(mdix)}
    if autoneg:
        return {**found, "link advertised": masks[len(masks) // 3 :][: len(masks) // 3].hex()}
    return {**found, "link speed": str(speed), "link duplex": str(duplex)}


def _link_settings(ifname: str) -> tuple[bytes, bytes]:
    """Return the fixed part, and the supported, advertised and the peer's link modes."""
    empty = struct.pack("=I", 0x4C).ljust(_LINK_HEAD, b"\0")
    (words,) = struct.unpack_from("=b", _run(ifname, empty), 15)
    asked = struct.pack("=I11xb", 0x4C, -words).ljust(_LINK_HEAD, b"\0") + bytes(3 * 4 * -words)
    answer = _run(ifname, asked)
    return answer[:_LINK_HEAD], answer[_LINK_HEAD:]


def _change_link(ifname: str, name: str, value: int) -> None:
    head, masks = _link_settings(ifname)
    changed = bytearray(head)
    struct.pack_into("=I", changed, 0, 0x4D)
    form, offset = {"speed": ("=I", 4), "duplex": ("=B", 8), "autoneg": ("=B", 11)}[name]
    if name == "speed":
        changed[8], changed[11] = 1, 0
    struct.pack_into(form, changed, offset, value)
    size = len(masks) // 3
    advertised = masks[:size] if changed[11] else masks[size : 2 * size]
    _run(ifname, bytes(changed) + masks[:size] + advertised + masks[2 * size :])


def _rss(ifname: str) -> dict[str, str]:
    _, _, entries, octets, *_ = struct.unpack_from(
        "=IIII", _run(ifname, struct.pack("=I", 0x46).ljust(_RSS_HEAD, b"\0"))
    )
    asked = struct.pack("=IIII", 0x46, 0, entries, octets).ljust(_RSS_HEAD, b"\0")
    answer = _run(ifname, asked + bytes(4 * entries + octets))
    table = struct.unpack_from(f"={entries}I", answer, _RSS_HEAD)
    key = answer[_RSS_HEAD + 4 * entries :]
    return {"RSS table": ",".join(map(str, table)), "RSS key": key.hex()}


def _change_table(ifname: str, entries: list[int]) -> None:
    head = struct.pack("=IIII", 0x47, 0, len(entries), 0).ljust(_RSS_HEAD, b"\0")
    _run(ifname, head + struct.pack(f"={len(entries)}I", *entries))


def _numbers(ifname: str, command: int, count: int) -> tuple[int, ...]:
    asked = struct.pack("=I", command).ljust(max(4 + 4 * count, _WOL_BYTES), b"\0")
    return struct.unpack_from(f"={count}I", _run(ifname, asked), 4)


def _strings(ifname: str, kind: int) -> list[str]:
    counted = _run(ifname, struct.pack("=IIQI", 0x37, 0, 1 << kind, 0))
    (count,) = struct.unpack_from("=I", counted, 16)
    asked = struct.pack("=III", 0x1B, kind, count) + bytes(_NAME_BYTES * count)
    answer = _run(ifname, asked)[12:]
    names = [answer[_NAME_BYTES * n :][:_NAME_BYTES] for n in range(count)]
    return [name.rstrip(b"\0").decode() for name in names]


def _run(ifname: str, command: bytes) -> bytes:
    memory = array("B", command)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        request = struct.pack("16sP16x", os.fsencode(ifname), memory.buffer_info()[0])
        fcntl.ioctl(opened, _SIOCETHTOOL, request)
    return memory.tobytes()
