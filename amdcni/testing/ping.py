"""ICMP echo, for IPv4 and IPv6; a script, run by `Namespace.ping`.  RFC 792 and RFC 4443 §4."""

import os
import socket
import struct
import sys
import time

_PAYLOAD = b"amdcni.testing"

# A socket address of IPv4, of IPv6, or what getaddrinfo gives on a Python without IPv6.
Target = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


def internet_checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071: the ones' complement of the ones' complement sum."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2]) for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(kind: int, identifier: int, sequence: int) -> bytes:
    """Return an echo request of ICMP type `kind` with its checksum.

    The kernel replaces the checksum of ICMPv6, which also covers addresses that it alone knows
    (RFC 3542 §3.1).
    """
    body = struct.pack("!HH", identifier, sequence) + _PAYLOAD
    checksum = internet_checksum(struct.pack("!BBH", kind, 0, 0) + body)
    return struct.pack("!BBH", kind, 0, checksum) + body


def is_answer(message: bytes, kind: int, identifier: int, sequence: int) -> bool:
    """Return whether an ICMP message is the reply, of type `kind`, to the request so numbered."""
    expected = struct.pack("!HH", identifier, sequence) + _PAYLOAD
    return message[:2] == bytes((kind, 0)) and message[4:] == expected


def round_trip_s(
    raw: socket.socket, target: Target, sequence: int, timeout_s: float
) -> float | None:
    """Send one echo request and return the time to its answer, or None if none came."""
    ipv4 = raw.family == socket.AF_INET
    identifier = os.getpid() & 0xFFFF
    request = echo_request(8 if ipv4 else 128, identifier, sequence)
    sent_at = time.monotonic()
    raw.sendto(request, target)
    while (left_s := sent_at + timeout_s - time.monotonic()) > 0:
        raw.settimeout(left_s)
        try:
            packet = raw.recv(65535)
        except TimeoutError:
            return None
        # A raw IPv4 socket hands out the IP header too, an IPv6 one does not (RFC 3542 §3).
        message = packet[(packet[0] & 0x0F) * 4 :] if ipv4 else packet
        if is_answer(message, 0 if ipv4 else 129, identifier, sequence):
            return time.monotonic() - sent_at
    return None


def main(address: str, count: str, timeout_s: str) -> None:
    """Ping `address` and print the round trip time in seconds of each answer, one per line."""
    try:
        _ping(address, int(count), float(timeout_s))
    except OSError as error:
        sys.exit(f"cannot ping {address}: {error.strerror or error}")


def _ping(address: str, count: int, timeout_s: float) -> None:
    found = socket.getaddrinfo(address, None, type=socket.SOCK_RAW, flags=socket.AI_NUMERICHOST)
    family, _, _, _, target = found[0]
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        for sequence in range(1, count + 1):
            taken_s = round_trip_s(raw, target, sequence, timeout_s)
            if taken_s is not None:
                print(f"{taken_s:.6f}", flush=True)
