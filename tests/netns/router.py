"""Sends one router advertisement with an on-link prefix; a script for the far end of a wire.

Usage: `router.py PREFIX`, as in `router.py fd07::`.  RFC 4861 §4.2 and §4.6.2.
"""

import socket
import struct
import sys

LIFETIME_S = 3600
ON_LINK_AND_AUTONOMOUS = 0xC0


def advertisement(prefix: str) -> bytes:
    """Return the ICMPv6 message; the kernel computes its checksum (RFC 3542 §3.1)."""
    router = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0)
    information = struct.pack(
        "!BBBBIII", 3, 4, 64, ON_LINK_AND_AUTONOMOUS, LIFETIME_S, LIFETIME_S, 0
    )
    return router + information + socket.inet_pton(socket.AF_INET6, prefix)


def main(prefix: str) -> None:
    """Send it to all nodes on the wire."""
    wire = socket.if_nametoindex("wire")
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.sendto(advertisement(prefix), ("ff02::1", 0, 0, wire))


if __name__ == "__main__":
    main(sys.argv[1])
