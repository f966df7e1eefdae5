"""Serves one CNI call like the executable, and counts its requests to the kernel; a script.

Usage: `counted_call.py FILE`, with the environment and stdin of a call.  FILE gets a JSON object:
how many netlink requests were sent, how many messages came back, how often all netdevs of a
network namespace were requested, and how often a record was decoded.
"""

import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from amdcni.core import formats
from amdcni_shim.__main__ import main

HEADER = struct.Struct("=IHHII")
RTM_GETLINK, NLM_F_DUMP = 18, 0x300
counts = {"requests": 0, "messages": 0, "netdevs": 0, "records": 0}
parse_attachment = formats.parse_attachment


class CountingSocket(socket.socket):
    """A socket that counts the netlink messages that pass through it."""

    def send(self, data: Any, flags: int = 0) -> int:
        if self.family == socket.AF_NETLINK:
            counts["requests"] += 1
            _, kind, asked, _, _ = HEADER.unpack_from(data)
            counts["netdevs"] += kind == RTM_GETLINK and asked & NLM_F_DUMP == NLM_F_DUMP
        return super().send(data, flags)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        length, sender = super().recvfrom_into(buffer, nbytes, flags)
        offset = 0
        while not flags & socket.MSG_PEEK and offset + HEADER.size <= length:
            offset += (max(HEADER.unpack_from(buffer, offset)[0], HEADER.size) + 3) & ~3
            counts["messages"] += 1
        return length, sender


def counted_parse(data: bytes) -> Any:
    """Decode a record, and count it."""
    counts["records"] += 1
    return parse_attachment(data)


if __name__ == "__main__":
    formats.parse_attachment = counted_parse
    socket.socket = CountingSocket  # type: ignore[misc]
    status = main(os.environ, sys.stdin.buffer, sys.stdout, sys.stderr)
    Path(sys.argv[1]).write_text(json.dumps(counts))
    sys.exit(status)
