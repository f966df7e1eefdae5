"""Ends a network namespace and sends netdevs home from it; a script, run by `pods.py`.

As in the kernel, the namespace has neither a path nor a process any more when they come home.  The
arguments are the path of the namespace, that of the one to which netdevs go, and for each netdev
its ifindex and its name there, empty for the present one.
"""

import ctypes
import os
import socket
import struct
import sys

_CLONE_NEWNET = 0x40000000
_MNT_DETACH = 2
_RTM_NEWLINK, _NLM_F_REQUEST, _NLM_F_ACK, _NLMSG_ERROR = 16, 1, 4, 2
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_HEADER, _LINK, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), "=HH"

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(status: int, what: str) -> None:
    if status != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return struct.pack(_ATTRIBUTE, 4 + len(value), kind) + value + padding


def _send_home(kernel: socket.socket, ifindex: int, ifname: str, home: int) -> None:
    attributes = _attribute(_IFLA_NET_NS_FD, struct.pack("=I", home))
    if ifname:
        attributes += _attribute(_IFLA_IFNAME, ifname.encode() + b"\0")
    body = _LINK.pack(0, 0, ifindex, 0, 0) + attributes
    length, flags = _HEADER.size + len(body), _NLM_F_REQUEST | _NLM_F_ACK
    kernel.send(_HEADER.pack(length, _RTM_NEWLINK, flags, 1, 0) + body)
    answer = kernel.recv(1 << 16)
    (code,) = struct.unpack_from("=i", answer, _HEADER.size)
    if code:
        sys.exit(f"netdev {ifindex} cannot go home: {os.strerror(-code)}")


def main(path: str, home_path: str, *moves: str) -> None:
    """Do what the module says."""
    home, dying = (os.open(each, os.O_RDONLY) for each in (home_path, path))
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    _checked(_libc.setns(dying, _CLONE_NEWNET), "setns")
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    _checked(_libc.setns(own, _CLONE_NEWNET), "setns")
    os.close(dying)
    # From here on only the socket keeps the namespace, in which nobody can find it.
    _checked(_libc.umount2(path.encode(), _MNT_DETACH), f"umount {path}")
    os.unlink(path)
    for ifindex, ifname in zip(moves[::2], moves[1::2], strict=True):
        _send_home(kernel, int(ifindex), ifname, home)
