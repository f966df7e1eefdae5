"""What `ip` does not show of netdevs: their queues, and limits of offloads; a script.

`readings.py` runs `main`.
"""

import contextlib
import ctypes
import json
import os
import socket
import struct
import sys

_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_REC, _MS_PRIVATE = 0x1, 0x4000, 0x40000
_STATE = {"inflight", "limit", "stall_cnt", "stall_max", "tx_timeout", "traffic_class"}
_OF_NETDEV = ("gro_flush_timeout", "napi_defer_hard_irqs", "threaded")
_OFFLOAD_LIMITS = {"gso_ipv4_max_size": 63, "gro_ipv4_max_size": 64}  # of linux/if_link.h
_GET_LINK, _NEW_LINK, _SET_LINK, _DONE, _ERROR = 18, 16, 19, 3, 2
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Print a JSON object with the values by name of each netdev of this network namespace."""
    found = _offload_limits()
    _mount_sysfs()
    for ifname in os.listdir("/sys/class/net"):
        # A netdev may go at any time.
        with contextlib.suppress(OSError):
            found.setdefault(ifname, {}).update(_settings(f"/sys/class/net/{ifname}"))
    json.dump(found, sys.stdout)


def change(ifname: str, *settings: str) -> None:
    """Give a netdev settings such as `rx-0/rps_cpus=3`."""
    _mount_sysfs()
    for setting in settings:
        name, _, value = setting.partition("=")
        if name in _OFFLOAD_LIMITS:
            _set_offload_limit(ifname, _OFFLOAD_LIMITS[name], int(value))
        else:
            folder = "queues/" if "/" in name else ""
            with open(f"/sys/class/net/{ifname}/{folder}{name}", "w") as file:
                file.write(value)


def _mount_sysfs() -> None:
    """Let /sys show this network namespace, for this process alone."""
    if (
        _libc.unshare(_CLONE_NEWNS) != 0
        or _libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0
        # The kernel does not mount a file system on itself.
        or _libc.mount(b"none", b"/sys", b"tmpfs", 0, None) != 0
        # In a container it may be read-only.
        or all(_libc.mount(b"sysfs", b"/sys", b"sysfs", flags, None) for flags in (0, _MS_RDONLY))
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _settings(folder: str) -> dict[str, str]:
    values = {name: _text(f"{folder}/{name}") for name in _OF_NETDEV}
    for path, _, names in os.walk(f"{folder}/queues"):
        where = os.path.relpath(path, f"{folder}/queues")
        values |= {f"{where}/{n}": _text(f"{path}/{n}") for n in names if n not in _STATE}
    return {name: value for name, value in values.items() if value}


def _text(path: str) -> str:
    """Return what a file says; nothing if it does not apply to this netdev."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _offload_limits() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asked:
        asked.send(struct.pack("=IHHII16x", 32, _GET_LINK, _REQUEST | _DUMP, 1, 0))
        while True:
            data = asked.recv(1 << 18)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind != _NEW_LINK:
                    return found
                attributes = dict(_attributes(data[32:length]))
                ifname = attributes[3].rstrip(b"\0").decode(errors="surrogateescape")
                found[ifname] = {
                    name: str(struct.unpack("=I", attributes[number])[0])
                    for name, number in _OFFLOAD_LIMITS.items()
                    if number in attributes
                }
                data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> "list[tuple[int, bytes]]":
    found = []
    while data:
        length, kind = struct.unpack_from("=HH", data)
        found.append((kind & 0x3FFF, data[4:length]))
        data = data[(length + 3) & ~3 :]
    return found


def _set_offload_limit(ifname: str, number: int, value: int) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asked:
        link = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(ifname), 0, 0)
        body = link + struct.pack("=HHI", 8, number, value)
        asked.send(struct.pack("=IHHII", 16 + len(body), _SET_LINK, _REQUEST | _ACK, 1, 0) + body)
        (code,) = struct.unpack_from("=i", asked.recv(1 << 16), 16)
        if code:
            raise OSError(-code, os.strerror(-code))
