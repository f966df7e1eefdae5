"""Loads BPF programs and attaches them to a netdev: a script, for its process may be refused that.

It is called with the name of the netdev, and prints the IDs of the programs at its XDP and tcx
hooks.  The programs do nothing.
"""

import ctypes
import os
import socket
import struct
import sys

_NR_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_LOAD, _ATTACH, _INFO_BY_FD = 5, 8, 15
_SCHED_CLS, _XDP = 3, 6
_TCX_INGRESS, _TCX_EGRESS = 46, 47
_PASS = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit
_ID_OFFSET = 4

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    done: int = _libc.syscall(_NR_BPF, command, buffer, 128)
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return done


def _load(kind: int) -> int:
    code, licence = ctypes.create_string_buffer(_PASS), ctypes.create_string_buffer(b"GPL")
    where = ctypes.addressof(code), ctypes.addressof(licence)
    return _bpf(_LOAD, struct.pack("=IIQQ", kind, 2, *where))


def _id_of(program: int) -> int:
    info = ctypes.create_string_buffer(256)
    _bpf(_INFO_BY_FD, struct.pack("=IIQ", program, 256, ctypes.addressof(info)))
    (number,) = struct.unpack_from("=I", info, _ID_OFFSET)
    return int(number)


def _attach_xdp(program: int, ifindex: int) -> None:
    """By RTM_SETLINK with IFLA_XDP, in the generic mode."""
    inner = struct.pack("=HHiHHI", 8, 1, program, 8, 3, 2)
    attribute = struct.pack("=HH", 4 + len(inner), 43 | 0x8000) + inner
    body = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0) + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as opened:
        opened.send(struct.pack("=IHHII", 16 + len(body), 19, 5, 1, 0) + body)
        (code,) = struct.unpack_from("=i", opened.recv(4096), 16)
    if code:
        raise OSError(-code, os.strerror(-code))


def main(ifname: str) -> None:
    """Attach one program to the XDP hook, and two to the tcx hooks."""
    ifindex = socket.if_nametoindex(ifname)
    xdp, first, second = _load(_XDP), _load(_SCHED_CLS), _load(_SCHED_CLS)
    _attach_xdp(xdp, ifindex)
    for program, hook in ((first, _TCX_INGRESS), (second, _TCX_EGRESS)):
        _bpf(_ATTACH, struct.pack("=IIII", ifindex, program, hook, 0))
    print(*map(_id_of, (xdp, first, second)))


if __name__ == "__main__":
    main(sys.argv[1])
