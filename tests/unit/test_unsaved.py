"""What no record can hold is named in words: each kind once, and only for this netdev."""

import errno
import ipaddress
import struct
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.capture import Details
from amdcni.core.errors import KernelRefused
from amdcni.core.host import LinkFlag, Netdev
from amdcni.core.names import IfName, MacAddress
from amdcni.core.unsaved import Kind, Unsaved, in_words
from amdcni.effects.messages import mptcp
from amdcni.effects.messages.unsaved import Question, groups_of, questions, static_groups
from amdcni.effects.rtnetlink import Reply, Request, RequestRefused
from amdcni.effects.unsaved import read_unsaved

OURS, OTHER = 7, 9
NETDEV = Netdev(OURS, IfName("ens1"), mac=MacAddress("02:00:00:00:00:01"))

# ---- words -------------------------------------------------------------------------------------

things = st.builds(Unsaved, st.sampled_from(Kind), st.integers(0, 99).map(str))


@given(st.lists(things, max_size=30))
def test_each_kind_gets_one_line_that_names_eight_and_counts_the_rest(found: list[Unsaved]) -> None:
    lines = in_words(found)
    kinds = list(dict.fromkeys(each.kind for each in found))
    assert len(lines) == len(kinds)
    for kind, line in zip(kinds, lines, strict=True):
        names = list(dict.fromkeys(each.name for each in found if each.kind is kind))
        one, several = kind.value
        words, _, more = line.removeprefix("the ").partition(" and ")
        assert words.startswith(f"{one if len(names) == 1 else several} ")
        named = words.removeprefix(one if len(names) == 1 else several).strip().split(", ")
        assert named == names[:8]
        assert more == ("" if len(names) <= 8 else f"{len(names) - 8} more")


@pytest.mark.parametrize(("count", "more"), [(8, ""), (9, " and 1 more"), (31, " and 23 more")])
def test_of_many_things_eight_are_named_and_the_rest_are_counted(count: int, more: str) -> None:
    found = [Unsaved(Kind.NEXTHOP, str(number)) for number in range(count)]
    assert in_words(found) == (f"the nexthop objects 0, 1, 2, 3, 4, 5, 6, 7{more}",)


def test_singular_and_plural_read_naturally() -> None:
    one, other = (Unsaved(Kind.MANAGED_NEIGHBOUR, f"10.0.0.{n}") for n in (7, 8))
    assert in_words([one]) == ("the managed neighbour 10.0.0.7",)
    assert in_words([one, other, one]) == ("the managed neighbours 10.0.0.7, 10.0.0.8",)


# ---- answers -----------------------------------------------------------------------------------


def attribute(number: int, value: bytes | int | str) -> bytes:
    if isinstance(value, int):
        value = struct.pack("=I", value)
    if isinstance(value, str):
        value = value.encode() + b"\0"
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), number) + value + padding


def reply(fixed: bytes, **attributes: bytes | int | str) -> Reply:
    """An answer; its attributes have names such as `_7`."""
    encoded = [attribute(int(name.strip("_")), value) for name, value in attributes.items()]
    return Reply(0, 0, fixed + b"".join(encoded))


def neighbour(
    address: str,
    state: int,
    *,
    flags: int = 0,
    mac: str = "02:00:00:00:00:77",
    ifindex: int = OURS,
    **more: bytes | int | str,
) -> Reply:
    fixed = struct.pack("=B3xiHBB", 2, ifindex, state, flags, 1)
    octets = bytes.fromhex(mac.replace(":", ""))
    return reply(fixed, _1=ipaddress.ip_address(address).packed, _2=octets, **more)


def entry(mac: str, *, flags: int = 2, state: int = 0x80, ifindex: int = OURS) -> Reply:
    fixed = struct.pack("=B3xiHBB", 7, ifindex, state, flags, 0)
    return reply(fixed, _2=bytes.fromhex(mac.replace(":", "")))


def nexthop(number: int, *members: int) -> Reply:
    group = b"".join(struct.pack("=IBBH", member, 0, 0, 0) for member in members)
    return reply(bytes(8), _1=number, **({"_2": group} if members else {"_5": OURS}))


def mpls(label: int, **attributes: bytes | int | str) -> Reply:
    fixed = struct.pack("=BBBBBBBBI", 28, 20, 0, 0, 254, 4, 0, 1, 0)
    return reply(fixed, _1=struct.pack("!I", label << 12), **attributes)


def label(prefix: str, ifindex: int) -> Reply:
    network = ipaddress.ip_network(prefix)
    fixed = struct.pack("=BBBBII", 10, 0, network.prefixlen, 0, ifindex, 0)
    return reply(fixed, _1=network.network_address.packed, _2=99)


ANSWERS: list[tuple[str, Reply, str | None]] = [
    ("neighbours", neighbour("10.0.0.7", 2, _15=1), "the managed neighbour 10.0.0.7"),
    ("neighbours", neighbour("10.0.0.7", 2, _15=1, ifindex=OTHER), None),
    ("neighbours", neighbour("10.0.0.7", 2, _15=2), None),
    (
        "neighbours",
        neighbour("10.0.0.7", 4, flags=0x10),
        "the externally learnt neighbour 10.0.0.7",
    ),
    ("neighbours", neighbour("10.0.0.7", 0x40), "the noarp neighbour 10.0.0.7"),
    ("neighbours", neighbour("10.0.0.7", 0x40, mac="ff:ff:ff:ff:ff:ff"), None),
    ("neighbours", neighbour("10.0.0.7", 0x40, mac="33:33:00:00:00:16"), None),
    ("neighbours", neighbour("10.0.0.7", 0x80, flags=0x10, _15=1), None),
    ("neighbours", neighbour("10.0.0.7", 2), None),
    (
        "hardware addresses",
        entry("02:00:00:00:00:99"),
        "the second hardware address 02:00:00:00:00:99",
    ),
    ("hardware addresses", entry("02:00:00:00:00:01"), None),
    ("hardware addresses", entry("00:00:00:00:00:00"), None),
    ("hardware addresses", entry("33:33:00:00:00:01"), None),
    ("hardware addresses", entry("02:00:00:00:00:99", flags=4), None),
    ("hardware addresses", entry("02:00:00:00:00:99", state=2), None),
    ("hardware addresses", entry("02:00:00:00:00:99", ifindex=OTHER), None),
    ("nexthop objects", nexthop(10), "the nexthop object 10"),
    ("MPLS routes", mpls(100, _4=OURS), "the MPLS route 100"),
    ("MPLS routes", mpls(100, _9=struct.pack("=HBBi", 8, 0, 0, OURS)), "the MPLS route 100"),
    ("MPLS routes", mpls(100, _4=OTHER), None),
    ("address labels", label("fd00::/64", OURS), "the address label of fd00::/64"),
    ("address labels", label("fd00::/64", 0), None),
]


def asked(netdev: Netdev = NETDEV) -> dict[str, Question]:
    return {each.what: each for each in questions(netdev, has_mpls=True, renumbered=True)}


def test_every_query_has_an_answer_that_names_something() -> None:
    assert {what for what, _, line in ANSWERS if line is not None} == asked().keys()


@pytest.mark.parametrize(("what", "answer", "line"), ANSWERS)
def test_what_is_lost_is_named_but_not_what_is_kept_or_belongs_to_another(
    what: str, answer: Reply, line: str | None
) -> None:
    lines = in_words(asked()[what].unsaved_in(answer))
    assert lines == (() if line is None else (line,))


def test_on_a_netdev_without_arp_a_noarp_neighbour_is_not_named() -> None:
    without = attrs.evolve(NETDEV, flags=int(LinkFlag.NOARP))
    assert list(asked(without)["neighbours"].unsaved_in(neighbour("10.0.0.7", 0x40))) == []


def test_the_table_of_a_tunnel_is_not_read_as_hardware_addresses() -> None:
    assert "hardware addresses" not in asked(attrs.evolve(NETDEV, kind="vxlan"))


def test_nexthop_groups_are_queried_only_if_a_nexthop_object_is_lost() -> None:
    assert groups_of([Unsaved(Kind.QDISC, "10")]) is None
    question = groups_of([Unsaved(Kind.NEXTHOP, "10"), Unsaved(Kind.QDISC, "12")])
    assert question is not None
    for group, found in (((11, 9, 10), True), ((11, 9, 12), False)):
        expected = [Unsaved(Kind.NEXTHOP_GROUP, "11")] if found else []
        assert list(question.unsaved_in(nexthop(*group))) == expected


LISTED = """\
7    ens1            1     0     333300000001
7    ens1            2     1     01005e000099
77   ens2            1     1     01005e000098
"""


def test_only_multicast_addresses_that_somebody_set_are_named() -> None:
    assert list(static_groups(LISTED, OURS)) == [
        Unsaved(Kind.MULTICAST_ADDRESS, "01:00:5e:00:00:99")
    ]
    assert list(static_groups("", OURS)) == []


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
@pytest.mark.parametrize(("ifindex", "ours"), [(OURS, True), (OTHER, False), (None, False)])
def test_an_mptcp_endpoint_is_named_only_for_its_netdev(
    address: str, ifindex: int | None, ours: bool
) -> None:
    ip = ipaddress.ip_address(address)
    encoded = attribute(3 if ip.version == 4 else 4, ip.packed)
    encoded += b"" if ifindex is None else attribute(7, ifindex)
    answer = reply(bytes(4), _1=encoded)
    found = [Unsaved(Kind.MPTCP_ENDPOINT, address)] if ours else []
    assert list(mptcp.endpoints_in(answer, OURS)) == found


def test_the_mptcp_family_is_queried_by_name() -> None:
    assert b"mptcp_pm\0" in mptcp.family_query().body
    assert mptcp.family_of(reply(bytes(4), _1=struct.pack("=H", 27))) == 27


# ---- kernels -----------------------------------------------------------------------------------


@attrs.define
class OldKernel:
    """A kernel that answers every query in the same way; `asked` counts the queries."""

    answer: Callable[[], list[Reply]]
    asked: int = 0

    def dump(self, request: Request) -> list[Reply]:
        self.asked += 1
        return self.answer()


def read(answer: Callable[[], list[Reply]], **sysctls: Any) -> tuple[tuple[str, ...], int]:
    kernel = OldKernel(answer)
    nowhere = attrs.evolve(NETDEV, ifindex=2**31 - 1)  # This machine has no such netdev.
    lines = read_unsaved(kernel, nowhere, Details(sysctls=sysctls), renumbered=False)
    return lines, kernel.asked


def refusing(failure: KernelRefused) -> Callable[[], list[Reply]]:
    def answer() -> list[Reply]:
        raise failure

    return answer


@pytest.mark.parametrize(
    "code", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT, errno.ENODEV, errno.EAFNOSUPPORT]
)
def test_a_kernel_that_does_not_know_a_query_has_nothing_of_that_kind(code: int) -> None:
    assert read(refusing(RequestRefused(code)))[0] == ()


@pytest.mark.parametrize(
    "failure", [RequestRefused(errno.EPERM), KernelRefused("it changes faster than it can be read")]
)
def test_what_cannot_be_read_is_reported(failure: KernelRefused) -> None:
    lines, asked = read(refusing(failure))
    assert len(lines) == asked
    assert all("they cannot be read" in line for line in lines)


def test_there_are_three_queries_and_a_fourth_with_mpls() -> None:
    nothing, plain = read(list)
    assert (nothing, plain) == ((), 3)
    assert read(list, **{"mpls/conf/input": "1"}) == ((), 4)
