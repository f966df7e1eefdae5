"""What only a driver knows of a NIC, and no record holds, is named when the NIC is lent."""

import ctypes
import fcntl
import socket
import struct

from tests.netns.runtime import expect_silence
from tests.vm.guest import Guest, peers_of
from tests.vm.nics import E1000E

_GET, _SET = 0x89B1, 0x89B0  # SIOCGHWTSTAMP, SIOCSHWTSTAMP
_ALL = (0, 1, 1)
"""No flags, HWTSTAMP_TX_ON, HWTSTAMP_FILTER_ALL."""


def timestamping(request: int, values: tuple[int, int, int] = (0, 0, 0)) -> tuple[int, ...]:
    """Read or set which packets the NIC stamps with the time."""
    config = bytearray(struct.pack("=iii", *values))
    address = ctypes.addressof(ctypes.c_char.from_buffer(config))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        asked = struct.pack("=16sQ16x", E1000E.ifname.encode(), address)
        fcntl.ioctl(opened, request, asked)
    return struct.unpack("=iii", config)


def test_hardware_timestamping_is_reported_and_goes_along_with_the_nic(guest: Guest) -> None:
    guest.mover = "native"
    pod = guest.pod("pod1")
    outcome = guest.add(E1000E, pod)
    assert "not-saved" not in outcome.stderr, outcome
    expect_silence(guest.delete(E1000E, pod))
    timestamping(_SET, _ALL)
    outcome = guest.add(E1000E, pod)
    assert 'what="the hardware timestamping tx_type 1 rx_filter 1"' in outcome.stderr, outcome
    expect_silence(guest.delete(E1000E, pod))
    assert timestamping(_GET) == _ALL
    timestamping(_SET)
    assert guest.damage() == []


def test_a_route_of_labels_is_named_and_nothing_that_is_not_there(guest: Guest) -> None:
    pod, labels = guest.pod("pod1"), "net/mpls/platform_labels"
    outcome = guest.add(E1000E, pod)
    assert "MPLS" not in outcome.stderr, outcome
    expect_silence(guest.delete(E1000E, pod))
    guest.host.sysctl(labels, 200)
    try:
        router = peers_of(E1000E)[0]
        guest.host.ip(f"-family mpls route add 100 via inet {router} dev {E1000E.ifname}")
        outcome = guest.add(E1000E, pod)
        assert 'what="the MPLS route 100"' in outcome.stderr, outcome
        expect_silence(guest.delete(E1000E, pod))
    finally:
        guest.host.sysctl(labels, 0)
    assert guest.damage() == []
