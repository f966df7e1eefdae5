"""Serves one CNI call like the executable, and counts what it asks of the kernel; a script.

Usage: `counted_call.py FILE`, with the environment and stdin of a call.  FILE gets a JSON object:
how many requests went out by netlink, and how many messages came back.
"""

import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from amdcni_shim.__main__ import main

HEADER = struct.Struct("=IHHII")
counts = {"requests": 0, "messages": 0}


class CountingSocket(socket.socket):
    """A socket that counts the messages of netlink that pass it."""

    def send(self, data: Any, flags: int = 0) -> int:
        counts["requests"] += self.family == socket.AF_NETLINK
        return super().send(data, flags)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        length, sender = super().recvfrom_into(buffer, nbytes, flags)
        offset = 0
        while not flags & socket.MSG_PEEK and offset + HEADER.size <= length:
            offset += (max(HEADER.unpack_from(buffer, offset)[0], HEADER.size) + 3) & ~3
            counts["messages"] += 1
        return length, sender


if __name__ == "__main__":
    socket.socket = CountingSocket  # type: ignore[misc]
    status = main(os.environ, sys.stdin.buffer, sys.stdout, sys.stderr)
    Path(sys.argv[1]).write_text(json.dumps(counts))
    sys.exit(status)
