"""All netdevs of a namespace are read, whatever others change meanwhile."""

import os
import struct
import time
from collections.abc import Callable

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_MULTI
from pyroute2.netlink.rtnl import (
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETSTATS,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWSTATS,
)

from amdcni.effects import netns, rtnetlink
from amdcni.effects.netlink import Netlink
from tests.unit.test_rtnetlink import HEADER, Answer, Kernel, attribute, datagram, done, error

ENODEV = 19
LINK = struct.Struct("=BxHiII")
ADDRESS = struct.Struct("=BBBBI")
STATS = struct.Struct("=B3xII")


@define
class Look:
    """Which netdevs a dump shows, and whether the kernel says that it was disturbed."""

    shown: set[int]
    disturbed: bool = False


@define
class Host(Kernel):
    """A kernel with these netdevs, whose dumps show what a test says, and then all of them."""

    netdevs: set[int] = field(factory=set)
    links: list[Look] = field(factory=list)
    stats: list[Look] = field(factory=list)
    addresses: list[Look] = field(factory=list)
    dumps: int = 0

    def getsockopt(self, *_: int) -> bytes:
        return bytes(8)

    def send(self, data: bytes) -> int:
        _, kind, flags, sequence, _ = HEADER.unpack_from(data)
        body = data[HEADER.size :]
        dumped = flags & NLM_F_DUMP == NLM_F_DUMP
        match kind:
            case kind if kind == RTM_GETLINK:
                ifindex = 0 if dumped else LINK.unpack_from(body)[2]
                answers = self.about(ifindex, self.links, link)
            case kind if kind == RTM_GETADDR:
                answers = self.about(ADDRESS.unpack_from(body)[4], self.addresses, address)
            case kind if kind == RTM_GETSTATS:
                answers = self.about(0, self.stats, stats)
            case _:
                raise AssertionError(kind)
        self.dumps += dumped
        if not dumped:
            answers = [(number, 0, body) for number, _, body in answers[:1]]
        self.queue += [datagram(sequence, [answer]) for answer in answers]
        return len(data)

    def about(
        self, ifindex: int, looks: list[Look], answer_for: Callable[[int, int], Answer]
    ) -> list[Answer]:
        if ifindex:
            if ifindex not in self.netdevs:
                return [error(-ENODEV)]
            look = Look({ifindex})
        else:
            look = looks.pop(0) if looks else Look(self.netdevs)
        flags = NLM_F_MULTI | (NLM_F_DUMP_INTR if look.disturbed else 0)
        return [*(answer_for(number, flags) for number in sorted(look.shown)), done(flags=flags)]


def link(ifindex: int, flags: int) -> Answer:
    name = attribute(3, f"eth{ifindex}\0".encode())
    return RTM_NEWLINK, flags, LINK.pack(0, 1, ifindex, 0, 0) + name


def address(ifindex: int, flags: int) -> Answer:
    own = attribute(2, bytes([10, 0, ifindex >> 8, ifindex & 255]))
    return RTM_NEWADDR, flags, ADDRESS.pack(2, 32, 0, 0, ifindex) + own


def stats(ifindex: int, flags: int) -> Answer:
    return RTM_NEWSTATS, flags, STATS.pack(0, ifindex, 1)


ifindexes = st.sets(st.integers(1, 40), min_size=1)


def read(host: Host) -> dict[int, list[str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rtnetlink, "_opened", lambda _: host)
        patch.setattr(time, "sleep", lambda _: None)
        fd = os.open(netns.OWN_NETNS, os.O_RDONLY)
        with Netlink(fd) as netlink:
            found = netlink.netdevs()
    assert len(found) == len({netdev.ifindex for netdev in found})
    assert all(netdev.ifname == f"eth{netdev.ifindex}" for netdev in found)
    return {n.ifindex: [str(a.interface) for a in n.addresses] for n in found}


def whole(netdevs: set[int]) -> dict[int, list[str]]:
    return {ifindex: [f"10.0.0.{ifindex}/32"] for ifindex in netdevs}


@given(ifindexes, ifindexes, st.booleans(), ifindexes, st.booleans())
def test_all_present_netdevs_are_read_and_none_that_is_gone(
    netdevs: set[int], shown: set[int], disturbed: bool, gone: set[int], others: bool
) -> None:
    """Also if a dump of the links silently lacks some, or shows some that are gone."""
    host = Host([], netdevs=netdevs, links=[Look(shown, disturbed)])
    if others:
        host.stats = [Look(netdevs | gone, True), Look(netdevs, True)]
        host.addresses = [Look(set(), True)]
    assert read(host) == whole(netdevs)


def test_a_netdev_missed_by_one_disturbed_dump_is_read() -> None:
    missed = Look({1, 2, 9}, True)
    host = Host([], netdevs={1, 2, 5, 9}, links=[missed])
    host.stats = [missed, Look({1, 2, 5, 9}, True), Look({1, 2, 5, 9}, True)]
    assert read(host) == whole({1, 2, 5, 9})


def test_a_host_that_never_stops_changing_is_read() -> None:
    """Each dump shows a new netdev that is gone at once."""
    always = {1, 2, 5}
    host = Host([], netdevs=always, links=[Look({1, 2, 20}, True)])
    host.stats = [Look({*always, number}, True) for number in range(21, 400)]
    host.addresses = [Look(always, True)] * 400
    assert read(host) == whole(always)
    assert host.dumps < 20


def test_an_unchanging_host_is_read_with_three_dumps() -> None:
    host = Host([], netdevs=set(range(1, 100)))
    assert read(host) == whole(host.netdevs)
    assert host.dumps == 3
