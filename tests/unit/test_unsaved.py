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
from amdcni.core.host import Netdev, Program
from amdcni.core.names import IfName, MacAddress
from amdcni.core.unsaved import Kind, Unsaved, in_words
from amdcni.effects.messages import mptcp
from amdcni.effects.messages.hardware import (
    dcb_in,
    dcb_query,
    virtual_functions_in,
    virtual_functions_query,
)
from amdcni.effects.messages.unsaved import Question, questions
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
    found = [Unsaved(Kind.MPLS_ROUTE, str(number)) for number in range(count)]
    assert in_words(found) == (f"the MPLS routes 0, 1, 2, 3, 4, 5, 6, 7{more}",)


def test_singular_and_plural_read_naturally() -> None:
    one, other = (Unsaved(Kind.ADDRESS_LABEL, f"10.0.0.{n}") for n in (7, 8))
    assert in_words([one]) == ("the address label of 10.0.0.7",)
    assert in_words([one, other, one]) == ("the address labels of 10.0.0.7, 10.0.0.8",)


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


def mpls(label: int, **attributes: bytes | int | str) -> Reply:
    fixed = struct.pack("=BBBBBBBBI", 28, 20, 0, 0, 254, 4, 0, 1, 0)
    return reply(fixed, _1=struct.pack("!I", label << 12), **attributes)


def label(prefix: str, ifindex: int) -> Reply:
    network = ipaddress.ip_network(prefix)
    fixed = struct.pack("=BBBBII", 10, 0, network.prefixlen, 0, ifindex, 0)
    return reply(fixed, _1=network.network_address.packed, _2=99)


ANSWERS: list[tuple[str, Reply, str | None]] = [
    ("MPLS routes", mpls(100, _4=OURS), "the MPLS route 100"),
    ("MPLS routes", mpls(100, _9=struct.pack("=HBBi", 8, 0, 0, OURS)), "the MPLS route 100"),
    ("MPLS routes", mpls(100, _4=OTHER), None),
    ("address labels", label("fd00::/64", OURS), "the address label of fd00::/64"),
    ("address labels", label("fd00::/64", 0), None),
]


def test_the_query_for_mpls_routes_asks_for_nothing_that_the_kernel_does_not_filter_by() -> None:
    """It refuses a dump with anything else in the header (net/mpls/af_mpls.c)."""
    sent = asked()["MPLS routes"].request
    assert sent.body[:12] == struct.pack("=B11x", 28)


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


# ---- kernels -----------------------------------------------------------------------------------


@attrs.define
class OldKernel:
    """A kernel that answers every query in the same way; `asked` counts the queries."""

    answer: Callable[[], list[Reply]]
    asked: int = 0

    def dump(self, request: Request) -> list[Reply]:
        self.asked += 1
        return self.answer()

    def get(self, request: Request) -> Reply:
        raise RequestRefused(errno.EOPNOTSUPP)


def read(answer: Callable[[], list[Reply]], **sysctls: Any) -> tuple[tuple[str, ...], int]:
    kernel = OldKernel(answer)
    nowhere = attrs.evolve(NETDEV, ifindex=2**31 - 1)  # This machine has no such netdev.
    lines = read_unsaved(kernel, nowhere, Details(sysctls=sysctls), renumbered=False)
    return lines, kernel.asked


MPLS = {"mpls/conf/input": "1"}


def refusing(failure: KernelRefused) -> Callable[[], list[Reply]]:
    def answer() -> list[Reply]:
        raise failure

    return answer


@pytest.mark.parametrize(
    "code", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT, errno.ENODEV, errno.EAFNOSUPPORT]
)
def test_a_kernel_that_does_not_know_a_query_has_nothing_of_that_kind(code: int) -> None:
    assert read(refusing(RequestRefused(code)), **MPLS)[0] == ()


@pytest.mark.parametrize(
    "failure", [RequestRefused(errno.EPERM), KernelRefused("it changes faster than it can be read")]
)
def test_what_cannot_be_read_is_reported(failure: KernelRefused) -> None:
    lines, asked = read(refusing(failure), **MPLS)
    assert len(lines) == asked == 1
    assert all("they cannot be read" in line for line in lines)


def test_a_netdev_without_mpls_costs_no_query() -> None:
    assert read(list) == ((), 0)
    assert read(list, **MPLS) == ((), 1)


# ---- programs and drivers


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ((Program(7, "driver"),), ("the XDP program 7 (driver)",)),
        (
            (Program(7, "generic"), Program(8, "offloaded")),
            ("the XDP programs 7 (generic), 8 (offloaded)",),
        ),
        ((), ()),
    ],
)
def test_xdp_programs_are_named_with_how_they_are_attached(
    found: tuple[Program, ...], line: tuple[str, ...]
) -> None:
    nowhere = attrs.evolve(NETDEV, ifindex=2**31 - 1, xdp=found)
    assert read_unsaved(OldKernel(list), nowhere, Details(), renumbered=False) == line


LINK = struct.pack("=BxHiII", 0, 1, OURS, 0, 0)


def virtual(*described: bytes) -> Reply:
    """A link whose virtual functions have these settings."""
    return reply(LINK, _3="ens1", _22=b"".join(attribute(1, each) for each in described))


def vf_setting(kind: int, function: int, value: bytes) -> bytes:
    return attribute(kind, struct.pack("=I", function) + value)


SETTINGS = {
    "mac": (1, bytes.fromhex("020000000077").ljust(32, b"\0")),
    "vlan": (2, struct.pack("=II", 7, 0)),
    "qos": (2, struct.pack("=II", 0, 3)),
    "rate": (3, struct.pack("=I", 100)),
    "link state": (5, struct.pack("=I", 2)),
    "rates": (6, struct.pack("=II", 0, 100)),
    "trust": (9, struct.pack("=I", 1)),
}


@pytest.mark.parametrize(("kind", "value"), SETTINGS.values(), ids=SETTINGS)
def test_virtual_functions_with_settings_are_named_once(kind: int, value: bytes) -> None:
    plain = b"".join(vf_setting(kind, 0, bytes(len(value))) for kind, value in SETTINGS.values())
    spoof_checked = vf_setting(4, 0, struct.pack("=I", 1))
    statistics = attribute(8, attribute(0, bytes(8)))
    assert list(virtual_functions_in(virtual(plain + spoof_checked + statistics))) == []
    set_up = vf_setting(kind, 3, value) + vf_setting(2, 3, struct.pack("=II", 9, 0))
    lines = in_words(virtual_functions_in(virtual(plain, set_up)))
    assert lines == ("the settings of the virtual function 3",)


def test_the_query_for_virtual_functions_asks_for_them_without_their_counters() -> None:
    body = virtual_functions_query(OURS).body
    assert struct.unpack_from("=i", body, 4) == (OURS,)
    assert body.endswith(attribute(29, 1 | 8))


def dcb(*parts: tuple[int, bytes]) -> Reply:
    """An answer about DCB."""
    described = b"".join(attribute(kind, value) for kind, value in parts)
    return reply(struct.pack("=BBH", 0, 21, 0), _1="ens1", _13=described)


ETS = bytearray(59)
ETS[3:11] = ETS[11:19] = bytes([100, 0, 0, 0, 0, 0, 0, 0])
PFC = bytearray(struct.pack("=BBBxH", 8, 0, 0, 0).ljust(136, b"\0"))


def with_byte(value: bytearray, offset: int, byte: int) -> bytes:
    changed = bytearray(value)
    changed[offset] = byte
    return bytes(changed)


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([], ()),
        ([(1, bytes(ETS)), (2, bytes(PFC)), (3, b"")], ()),
        ([(1, with_byte(ETS, 20, 2))], ("the DCB settings ETS",)),
        ([(1, with_byte(ETS, 27, 2))], ()),
        ([(2, with_byte(PFC, 1, 8))], ("the DCB settings PFC",)),
        (
            [(1, with_byte(ETS, 26, 2)), (3, attribute(1, struct.pack("=BBHxx", 1, 3, 0x8915)))],
            ("the DCB settings ETS, application priorities",),
        ),
    ],
)
def test_dcb_settings_are_named_if_something_is_switched_on(
    parts: list[tuple[int, bytes]], lines: tuple[str, ...]
) -> None:
    assert in_words(dcb_in(dcb(*parts))) == lines


def test_the_query_for_dcb_is_about_the_one_netdev() -> None:
    asked_for = dcb_query("ens1")
    assert asked_for.kind == 78
    assert asked_for.body.startswith(struct.pack("=BBH", 0, 21, 0))
    assert b"ens1" in asked_for.body


@attrs.define
class DcbKernel(OldKernel):
    """A kernel whose driver knows DCB."""

    def get(self, request: Request) -> Reply:
        return dcb((2, with_byte(PFC, 1, 8)))


@pytest.mark.parametrize(("kind", "lines"), [(None, ("the DCB settings PFC",)), ("veth", ())])
def test_a_driver_is_asked_only_about_hardware(kind: str | None, lines: tuple[str, ...]) -> None:
    nowhere = attrs.evolve(NETDEV, ifindex=2**31 - 1, kind=kind)
    assert read_unsaved(DcbKernel(list), nowhere, Details(), renumbered=False) == lines
