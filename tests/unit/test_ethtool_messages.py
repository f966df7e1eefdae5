"""Messages about settings of ethtool: pyroute2's tables and the kernel's structures read the same.

A message about a group has the same attributes in an answer and in a request to set them, so what
is put is also read as an answer.
"""

import struct
from typing import Any

import pytest
from pyroute2.netlink.generic.ethtool import (
    ethtool_linkmode_msg,
    ethtool_rings_msg,
    ethtool_wol_msg,
)

from amdcni.core.aspects.ethtool import GROUPS, SetEthtool, Setting
from amdcni.core.host import Values
from amdcni.effects.ethtool_commands import GROUPS as BY_COMMAND
from amdcni.effects.messages import ethtool, ethtool_commands
from amdcni.effects.messages.generic import family_of, family_query
from amdcni.effects.rtnetlink import (
    HEADER_BYTES,
    Reply,
    Request,
    attribute,
    attributes_in,
    nested,
)

FAMILY, NIC = 27, 7
HEADER = [("ETHTOOL_A_HEADER_DEV_INDEX", NIC), ("ETHTOOL_A_HEADER_FLAGS", 0)]


def as_reply(request: Request) -> Reply:
    return Reply(request.kind, 0, request.body)


def read(reply: Reply, group: str) -> Values:
    return dict(ethtool.settings_in(reply, group))


def set_of(kind: int, *bits: int) -> bytes:
    """A compact set of bits, in two words of 32."""
    number = sum(1 << bit for bit in bits)
    words = struct.pack("=II", number & 0xFFFFFFFF, number >> 32)
    return nested(kind, attribute(2, struct.pack("=I", 64)), attribute(4, words))


def named_set(kind: int, bits: dict[str, bool]) -> bytes:
    """A set of bits that is not compact."""
    each = [
        nested(
            1,
            attribute(1, struct.pack("=I", number)),
            attribute(2, name.encode() + b"\0"),
            *([attribute(3, b"")] if value else []),
        )
        for number, (name, value) in enumerate(bits.items())
    ]
    return nested(kind, nested(3, *each))


def answer(*attributes: bytes) -> Reply:
    return Reply(FAMILY, 0, bytes(4) + b"".join(attributes))


def decoded(request: Request, message_class: Any) -> dict[str, Any]:
    """The attributes of a request, as pyroute2 reads them; it must be about the netdev."""
    header = struct.pack("=IHHII", HEADER_BYTES + len(request.body), request.kind, 0, 0, 0)
    message = message_class(header + request.body)
    message.decode()
    header, *others = message["attrs"]
    assert header[0].endswith("_HEADER")
    assert dict(map(tuple, header[1]["attrs"])) == dict(HEADER)
    return dict(others)


def test_the_family_is_queried_by_name() -> None:
    assert b"ethtool\0" in family_query(ethtool.FAMILY).body
    assert family_of(Reply(0, 0, bytes(4) + attribute(1, struct.pack("=H", 27)))) == 27


def test_each_group_is_asked_for_once_and_about_the_netdev() -> None:
    asked = dict(ethtool.queries(FAMILY, NIC, GROUPS))
    assert {*asked, *BY_COMMAND} == set(GROUPS)
    for group, request in asked.items():
        assert request.body[0] == ethtool.COMMANDS[group]
        (header,) = dict(attributes_in(request.body, 4)).values()
        compact = group != "private-flags"
        assert dict(attributes_in(header, 0)) == {
            1: struct.pack("=I", NIC),
            3: struct.pack("=I", compact),
        }
    assert [group for group, _ in ethtool.queries(FAMILY, NIC, ["rss", "rings"])] == ["rings"]
    in_words = ethtool.query_in_words(FAMILY, NIC, "link")
    assert decoded(in_words, ethtool_linkmode_msg) == {}


@pytest.mark.parametrize("group", list(ethtool.NUMBERS))
def test_numbers_that_are_set_are_read_again(group: str) -> None:
    wanted = {name: number + 1 for number, name in enumerate(ethtool.NUMBERS[group])}
    settings = tuple(Setting(name, value, None) for name, value in wanted.items())
    request = ethtool.put(FAMILY, NIC, SetEthtool(group, settings))
    assert (request.kind, request.body[0]) == (FAMILY, ethtool.COMMANDS[group] + 1)
    assert read(as_reply(request), group) == {f"{group}/{n}": v for n, v in wanted.items()}


def test_rings_are_set_as_pyroute2_reads_them() -> None:
    change = SetEthtool("rings", (Setting("rx", 512, 64), Setting("tx-push", 1, 0)))
    assert decoded(ethtool.put(FAMILY, NIC, change), ethtool_rings_msg) == {
        "ETHTOOL_A_RINGS_TX_PUSH": 1,
        "ETHTOOL_A_RINGS_RX": 512,
    }


def test_bits_are_set_by_number_and_only_those_that_change() -> None:
    settings = (Setting("modes", 1, 0, 5, "magic"), Setting("modes", 0, 1, 1, "ucast"))
    change = SetEthtool("wake-on-lan", settings)
    found = decoded(ethtool.put(FAMILY, NIC, change), ethtool_wol_msg)
    bits = found["ETHTOOL_A_WOL_MODES"].get_attr("ETHTOOL_A_BITSET_BITS")
    assert [
        (bit.get_attr("ETHTOOL_A_BITSET_BIT_INDEX"), bit.get_attr("ETHTOOL_A_BITSET_BIT_VALUE"))
        for bit in bits.get_attrs("ETHTOOL_A_BITSET_BITS_BIT")
    ] == [(5, True), (1, None)]


def test_a_private_flag_is_set_by_name() -> None:
    change = SetEthtool("private-flags", (Setting("legacy-rx", 1, 0), Setting("other", 0, 1)))
    body = ethtool.put(FAMILY, NIC, change).body
    flags = dict(attributes_in(body, 4))[2]
    bits = [dict(attributes_in(bit, 0)) for _, bit in attributes_in(flags[4:], 0)]
    assert bits == [{2: b"legacy-rx\0", 3: b""}, {2: b"other\0"}]


def test_features_are_those_that_can_be_changed() -> None:
    reply = answer(set_of(2, 1, 40, 2), set_of(3, 1, 5), set_of(4, 1, 2))
    assert read(reply, "features") == {
        "features/on": hex(1 << 1),
        "features/off": hex(1 << 2 | 1 << 40),
    }


def test_private_flags_are_read_by_name() -> None:
    reply = answer(named_set(2, {"legacy-rx": True, "other": False}))
    assert read(reply, "private-flags") == {
        "private-flags/legacy-rx": 1,
        "private-flags/other": 0,
    }
    assert read(answer(), "private-flags") == {}


def test_what_the_driver_does_not_have_is_absent() -> None:
    assert read(answer(attribute(5, b"\0")), "port") == {}
    assert read(answer(attribute(5, b"\3")), "port") == {"port/mdix": 3}
    assert read(answer(attribute(2, b"\1"), set_of(3, 0)), "link") == {
        "link/autoneg": 1,
        "link/advertised": "0x1",
    }


@pytest.mark.parametrize(
    ("group", "kind", "name"),
    [("features", 2, "features/on"), ("link", 3, "link/advertised")],
)
def test_the_names_of_bits_are_those_of_the_kernel(group: str, kind: int, name: str) -> None:
    reply = answer(named_set(kind, {"one": False, "two": True}))
    assert ethtool.bit_names_in(reply, group) == (name, {0: "one", 1: "two"})


def test_only_groups_with_sets_have_names_of_bits() -> None:
    paths = ["link/advertised", "rings/rx", "features/off", "link/autoneg"]
    assert ethtool.groups_with_sets(paths) == ["features", "link"]


def test_an_rss_context_is_read_by_its_number() -> None:
    assert ethtool.context_of(answer()) == 0
    assert ethtool.context_of(answer(attribute(2, struct.pack("=I", 3)))) == 3
    assert ethtool.contexts_query(FAMILY, NIC).body[0] == 38


# ---- commands: offsets and sizes as in linux/ethtool.h -------------------------------------------


def rss(*settings: Setting) -> SetEthtool:
    return SetEthtool("rss", settings)


def test_rss_is_asked_for_with_the_sizes_of_the_driver() -> None:
    assert len(ethtool_commands.rss_query()) == 24
    assert len(ethtool_commands.rss_query(4, 40)) == 24 + 4 * 4 + 40
    sizes = struct.pack("=IIIIBBBBI", 0x46, 0, 2, 3, 1, 0, 0, 0, 0)
    assert ethtool_commands.rss_sizes(sizes) == (2, 3)
    full = sizes + struct.pack("=II", 0, 7) + b"\x01\x02\x03"
    assert ethtool_commands.rss_in(full) == {
        "rss/function": 1,
        "rss/symmetry": 0,
        "rss/table": "0 7",
        "rss/key": "010203",
    }
    nothing = struct.pack("=IIIIBBBBI", 0x46, 0, 0, 0, 1, 0, 0, 0, 0)
    assert ethtool_commands.rss_in(nothing) == {}


def test_only_what_changes_of_rss_is_set() -> None:
    now = struct.pack("=IIIIBBBBI", 0x46, 0, 2, 3, 1, 9, 0, 0, 0)
    table = ethtool_commands.put_rss(rss(Setting("table", "0 7", "0 0")), now)
    assert table == struct.pack("=IIIIBBBBIII", 0x47, 0, 2, 0, 0, 9, 0, 0, 0, 0, 7)
    key = ethtool_commands.put_rss(rss(Setting("key", "0102", "00")), now)
    assert key == struct.pack("=IIIIBBBBI", 0x47, 0, 0xFFFFFFFF, 2, 0, 9, 0, 0, 0) + b"\1\2"
    both = rss(Setting("function", 2, 1), Setting("symmetry", 0, 9))
    assert ethtool_commands.put_rss(both, now) == struct.pack(
        "=IIIIBBBBI", 0x47, 0, 0xFFFFFFFF, 0, 2, 0, 0, 0, 0
    )


def test_the_hashed_fields_of_a_kind_of_packets_are_asked_for_and_set() -> None:
    asked = ethtool_commands.hash_query("udp4")
    assert (len(asked), struct.unpack_from("=II", asked)) == (192, (0x29, 2))
    wanted = ethtool_commands.put_hash("udp4", 0x30)
    assert struct.unpack_from("=IIQ", wanted) == (0x2A, 2, 0x30)
    assert ethtool_commands.hash_in(wanted) == 0x30


def test_rules_are_counted_and_then_listed() -> None:
    counting, listing = ethtool_commands.rules_query(), ethtool_commands.rules_query(2)
    assert struct.unpack_from("=I", counting) == (0x2E,)
    assert struct.unpack_from("=I", listing) == (0x30,)
    assert struct.unpack_from("=I", listing, 184) == (2,)
    filled = listing[:188] + struct.pack("=II", 5, 9)
    assert ethtool_commands.rule_count(filled) == 2
    assert ethtool_commands.rules_in(filled) == (5, 9)


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("rx-copybreak", struct.pack("=IIIII", 0x49, 1, 3, 4, 256)),
        ("pfc-prevention-timeout", struct.pack("=IIIIH", 0x49, 3, 2, 2, 256)),
    ],
)
def test_a_tunable_is_set_with_its_type_and_size(name: str, packed: bytes) -> None:
    assert ethtool_commands.put_tunable(name, 256) == packed
    assert ethtool_commands.tunable_in(packed, name) == 256
    asked = ethtool_commands.tunable_query(name)
    assert struct.unpack_from("=I", asked) == (0x48,)
    assert asked[4:16] == packed[4:16]
