"""BPF programs at the tcx hooks of a netdev (Linux 6.6), which netlink does not show."""

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final

from amdcni.effects.netns import system_call

_NR_BPF: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_BPF_PROG_QUERY: Final = 16
_HOOKS: Final = (46, 47)  # BPF_TCX_INGRESS, BPF_TCX_EGRESS
_MOST: Final = 64  # BPF_MPROG_MAX
_Ids: Final = ctypes.c_uint32 * _MOST
_QUERY: Final = struct.Struct("=IIIIQII32x")  # union bpf_attr, query
_COUNT_OFFSET: Final = 24


def tcx_programs(ifindex: int) -> Iterator[int]:
    """The IDs of the programs at the netdev of the network namespace that this thread is in.

    None where this process may not ask, or where the kernel has no such hooks.
    """
    number, ids = _NR_BPF.get(os.uname().machine), _Ids()
    if number is None:
        return
    for hook in _HOOKS:
        asked = _QUERY.pack(ifindex, hook, 0, 0, ctypes.addressof(ids), _MOST, 0)
        query = ctypes.create_string_buffer(asked, _QUERY.size)
        try:
            system_call(number, _BPF_PROG_QUERY, query, _QUERY.size)
        except OSError:
            continue
        (count,) = struct.unpack_from("=I", query, _COUNT_OFFSET)
        yield from ids[:count]
