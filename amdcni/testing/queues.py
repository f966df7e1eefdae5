"""What `ip` does not show of netdevs: their queues, and limits of offloads; a script.

`readings.py` runs `main`.
"""

import contextlib
import ctypes
import fcntl
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
_GENERIC, _CONTROLLER, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 16, 3, 1, 2
_NAPI_GET, _NAPI_SET, _NAPI_IFINDEX, _NAPI_ID = 11, 14, 1, 2  # of linux/netdev.h
_OF_NAPI = {"defer_hard_irqs": 5, "gro_flush_timeout": 6, "irq_suspend_timeout": 7, "threaded": 8}
_SIOCETHTOOL, _SET_GRO = 0x8946, 0x2C  # of linux/sockios.h and linux/ethtool.h

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Print a JSON object with the values by name of each netdev of this network namespace."""
    found = _offload_limits()
    _mount_sysfs()
    for ifname in os.listdir("/sys/class/net"):
        # A netdev may go at any time.
        with contextlib.suppress(OSError):
            found.setdefault(ifname, {}).update(_settings(f"/sys/class/net/{ifname}"))
            found[ifname].update(_of_napi(ifname))
    json.dump(found, sys.stdout)


def change(ifname: str, *settings: str) -> None:
    """Give a netdev settings such as `rx-0/rps_cpus=3`; with `gro=1` a veth has NAPI."""
    _mount_sysfs()
    for setting in settings:
        name, _, value = setting.partition("=")
        if name == "gro":
            _set_gro(ifname, int(value))
        elif name.startswith("napi-"):
            _set_of_napi(ifname, name, int(value))
        elif name in _OFFLOAD_LIMITS:
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


def _napi(ifname: str) -> "tuple[int, list[dict[int, int]]]":
    """Return the number of the family, and the attributes of each NAPI instance of a netdev."""
    asked = _attribute(_FAMILY_NAME, b"netdev\0")
    (controller,) = _ask(_CONTROLLER, 0, _GET_FAMILY, asked) or [{}]
    family = controller.get(_FAMILY_ID, 0)
    number = struct.pack("=I", socket.if_nametoindex(ifname))
    found = _ask(family, _DUMP, _NAPI_GET, _attribute(_NAPI_IFINDEX, number)) if family else []
    return family, sorted(found, key=lambda napi: napi[_NAPI_ID])


def _of_napi(ifname: str) -> dict[str, str]:
    return {
        f"napi-{index}/{name}": str(napi[number])
        for index, napi in enumerate(_napi(ifname)[1])
        for name, number in _OF_NAPI.items()
        if number in napi
    }


def _set_of_napi(ifname: str, name: str, value: int) -> None:
    number, _, setting = name.removeprefix("napi-").partition("/")
    family, found = _napi(ifname)
    asked = _attribute(_NAPI_ID, struct.pack("=I", found[int(number)][_NAPI_ID]))
    size = "=Q" if setting.endswith("timeout") else "=I"
    _ask(family, _ACK, _NAPI_SET, asked + _attribute(_OF_NAPI[setting], struct.pack(size, value)))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _ask(family: int, flags: int, command: int, attributes: bytes) -> "list[dict[int, int]]":
    """Return the attributes in each message of the answer, as numbers; none if it is refused."""
    found: list[dict[int, int]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _GENERIC) as asked:
        message = struct.pack("=BBH", command, 1, 0) + attributes
        length = 16 + len(message)
        asked.send(struct.pack("=IHHII", length, family, _REQUEST | flags, 1, 0) + message)
        while True:
            data = asked.recv(1 << 16)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind == _ERROR and flags & _ACK:
                    (code,) = struct.unpack_from("=i", data, 16)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                if kind in (_ERROR, _DONE):
                    return found
                read = _attributes(data[20:length])
                found.append(
                    {number: int.from_bytes(value, sys.byteorder) for number, value in read}
                )
                data = data[(length + 3) & ~3 :]
            if not flags & (_DUMP | _ACK):
                return found


def _set_gro(ifname: str, on: int) -> None:
    command = ctypes.create_string_buffer(struct.pack("=II", _SET_GRO, on))
    request = struct.pack("16sP", ifname.encode(), ctypes.addressof(command))
    with socket.socket() as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
