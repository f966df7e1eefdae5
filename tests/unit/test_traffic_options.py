"""What of a dump is configuration: nothing that the kernel counts, and nothing unknown."""

import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.host import Filter, Netdev, Qdisc, TrafficClass
from amdcni.core.names import IfName
from amdcni.effects.messages import traffic
from amdcni.effects.messages import traffic_options as options
from amdcni.effects.messages.traffic import Message
from amdcni.effects.messages.traffic_options import CannotKeep
from amdcni.effects.rtnetlink import Reply, attribute
from amdcni.testing import strategies as some

NIC = Netdev(7, IfName("ens1"))
values = st.binary(max_size=9)


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def nest(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(attribute(kind, value) for kind, value in parts)


# ---- qdiscs


@given(st.sampled_from(sorted(options.QDISCS)), st.data())
def test_what_is_configuration_of_a_qdisc_is_kept_byte_for_byte(
    kind: str, data: st.DataObject
) -> None:
    form = options.QDISCS[kind]
    plain = sorted(form.kept - form.cleaned.keys())
    start = bytes(data.draw(st.binary(min_size=form.size, max_size=form.size)))
    parts = data.draw(st.lists(st.tuples(st.sampled_from(plain), values))) if plain else []
    padding = bytes(-form.size % 4) if parts else b""
    shown = start + padding + nest(*parts)
    kept = options.cleaned_qdisc(kind, shown)
    assert len(kept) == len(shown)
    counted = {place for start, end in form.counted for place in range(start, end)}
    assert all(kept[i] == (0 if i in counted else shown[i]) for i in range(len(shown)))
    assert options.cleaned_qdisc(kind, kept) == kept


def htb(version: int, packets: int) -> bytes:
    return nest((2, struct.pack("=IIIII", version, 10, 0x20, 0, packets)), (5, number(1000)))


@given(st.integers(0, 2**32 - 1))
def test_counted_packets_are_no_configuration(packets: int) -> None:
    assert options.cleaned_qdisc("htb", htb(0x30011, packets)) == htb(0x30011, 0)
    assert options.cleaned_qdisc("sfq", bytes(48) + packets.to_bytes(8) * 3) == bytes(72)


def test_htb_is_set_with_its_major_version_alone() -> None:
    assert options.fitted_qdisc("htb", htb(0x30011, 0)) == htb(3, 0)
    assert options.fitted_qdisc("htb", htb(3, 0)) == htb(3, 0)


CODEL_SHIFT = 10


def stored(us: int) -> int:
    """The time that the kernel keeps when one in microseconds is set (include/net/codel.h)."""
    return us * 1000 >> CODEL_SHIFT


def shown(units: int) -> int:
    """What it shows of that time (codel_time_to_us)."""
    return (units << CODEL_SHIFT) // 1000


@given(st.integers(0, 2**31))
def test_the_times_of_codel_are_set_so_that_the_kernel_keeps_the_same(us: int) -> None:
    kept = stored(us)
    set_again = options.fitted_qdisc("codel", nest((1, number(shown(kept)))))
    assert stored(struct.unpack("=I", set_again[4:])[0]) == kept


@pytest.mark.parametrize(
    ("flows", "limit", "again"), [(128, 127, 0), (127, 127, 127), (100, 3000, 3000)]
)
def test_sfq_gets_its_limit_only_if_that_does_not_lower_its_flows(
    flows: int, limit: int, again: int
) -> None:
    def sfq(limit: int) -> bytes:
        return struct.pack("=IiIII", 1514, 0, limit, 1024, flows) + bytes(52)

    assert options.fitted_qdisc("sfq", sfq(limit)) == sfq(again)


@pytest.mark.parametrize("kind", ["fq_codel", "htb", "tbf", "pfifo", "clsact"])
def test_an_attribute_that_is_not_known_cannot_be_kept(kind: str) -> None:
    size = options.QDISCS[kind].size
    with pytest.raises(CannotKeep, match="attribute 77"):
        options.cleaned_qdisc(kind, bytes(size) + nest((77, b"")))


@pytest.mark.parametrize("kind", ["red", "pie", "taprio", ""])
def test_a_qdisc_that_is_not_known_cannot_be_kept(kind: str) -> None:
    with pytest.raises(CannotKeep):
        options.cleaned_qdisc(kind, b"")


@given(st.sampled_from(sorted(options.QDISCS)), st.binary(max_size=80))
def test_any_bytes_are_kept_or_refused(kind: str, data: bytes) -> None:
    try:
        kept = options.cleaned_qdisc(kind, data)
    except CannotKeep:
        return
    assert options.cleaned_qdisc(kind, kept) == kept


@given(st.sampled_from(sorted(options.FILTERS)), st.binary(max_size=80))
def test_any_bytes_of_a_filter_are_kept_or_refused(kind: str, data: bytes) -> None:
    try:
        kept, targets = options.cleaned_filter(kind, data)
    except CannotKeep:
        return
    assert options.cleaned_filter(kind, options.fitted_filter(kind, kept, targets))[0] == kept


@pytest.mark.parametrize(
    ("jitter", "slot_jitter", "is_kept"), [(0, 0, True), (1, 0, False), (0, 1, False)]
)
def test_netem_is_kept_unless_its_delay_varies(
    jitter: int, slot_jitter: int, is_kept: bool
) -> None:
    slot = struct.pack("=qqiiqq", 1, 2, 3, 4, 5, slot_jitter)
    data = bytes(24) + nest((11, struct.pack("=q", jitter)), (12, slot))
    if is_kept:
        assert options.cleaned_qdisc("netem", data) == data
    else:
        with pytest.raises(CannotKeep, match="varies"):
            options.cleaned_qdisc("netem", data)


@pytest.mark.parametrize(("sizes", "is_whole"), [(0, True), (512, False)])
def test_of_a_size_table_the_kernel_shows_all_only_if_it_has_no_sizes(
    sizes: int, is_whole: bool
) -> None:
    table = nest((1, bytes(20) + number(sizes)))
    assert options.is_whole_size_table(table) is is_whole
    assert options.is_whole_size_table(b"")


# ---- classes


@given(st.integers(0, 7))
def test_the_level_of_a_class_follows_from_what_is_in_it(level: int) -> None:
    def shown_at(level: int) -> bytes:
        return nest((1, bytes(range(36)) + number(level) + number(3)), (6, bytes(8)))

    assert options.cleaned_class("htb", shown_at(level)) == shown_at(0)


# ---- filters


def generic(index: int, references: int = 1, bindings: int = 1, rest: bytes = b"") -> bytes:
    return struct.pack("=IIiii", index, 0, 2, references, bindings) + rest


def mirred(ifindex: int, index: int = 0, **uses: int) -> bytes:
    parameters = generic(index, **uses, rest=struct.pack("=iI", 1, ifindex))
    return nest((1, b"mirred\0"), (2, nest((2, parameters), (1, bytes(32)))), (4, bytes(20)))


def u32(*actions: bytes, flags: int = 0) -> bytes:
    numbered = nest(*enumerate(actions, start=1))
    return nest((5, bytes(16)), (7, numbered), (11, number(flags)), (9, bytes(40)))


@given(st.integers(1, 99), st.integers(1, 99), st.integers(0, 99))
def test_the_target_of_a_filter_is_not_among_its_options(
    first: int, second: int, index: int
) -> None:
    kept, targets = options.cleaned_filter("u32", u32(mirred(first, index), mirred(second)))
    others, _ = options.cleaned_filter("u32", u32(mirred(7), mirred(8, 3)))
    assert (kept, targets) == (others, (first, second))


@given(st.lists(st.integers(1, 2**31 - 1), max_size=3))
def test_a_filter_is_set_with_the_targets_that_are_given(targets: list[int]) -> None:
    def set_to(target: int) -> bytes:
        parameters = generic(0, 0, 0, struct.pack("=iI", 1, target))
        return nest((1, b"mirred\0"), (2, nest((2, parameters))))

    kept, _ = options.cleaned_filter("u32", u32(*(mirred(5) for _ in targets)))
    actions = nest(*enumerate(map(set_to, targets), start=1))
    assert options.fitted_filter("u32", kept, targets) == nest((5, bytes(16)), (7, actions))


@pytest.mark.parametrize("kernels", [0x4, 0x8, 0xC, 0])
@pytest.mark.parametrize("own", [0x1, 0x2, 0x10, 0])
def test_whether_a_filter_is_in_hardware_is_no_configuration(kernels: int, own: int) -> None:
    kept, _ = options.cleaned_filter("u32", u32(flags=own | kernels))
    assert kept == nest((5, bytes(16)), (7, b""), *([(11, number(own))] if own else []))


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("u32", u32(mirred(5, references=2)), "the action mirred, which is shared"),
        ("u32", u32(mirred(5, bindings=2)), "the action mirred, which is shared"),
        ("u32", u32(mirred(0)), "the action mirred to a netdev that is gone"),
        ("u32", u32(nest((1, b"sample\0"))), "the action sample"),
        ("u32", u32(nest((1, b"gact\0"), (2, nest((77, b""))))), "attribute 77 of the action gact"),
        ("u32", u32(nest((1, b"gact\0"), (77, b""))), "attribute 77 of the action gact"),
        ("bpf", nest((6, number(3))), "attribute 6"),
        ("route", nest((4, number(3))), "attribute 4"),
        ("rsvp", b"", "^$"),
        (
            "basic",
            nest((2, nest((1, bytes(4)), (2, nest((1, bytes(2) + b"\x08\0")))))),
            "ematch of kind 8",
        ),
    ],
)
def test_a_filter_that_would_not_come_back_cannot_be_kept(
    kind: str, data: bytes, words: str
) -> None:
    with pytest.raises(CannotKeep, match=words):
        options.cleaned_filter(kind, data)


def police(rate: int, peak: int, uses: tuple[int, int]) -> bytes:
    def rate_spec(value: int) -> bytes:
        return struct.pack("=BBHhHI", 0, 1, 0, -1, 0, value)

    start = struct.pack("=IiIII", 5, 2, 0, 99, 2000)
    return start + rate_spec(rate) + rate_spec(peak) + struct.pack("=iiI", *uses, 0)


@pytest.mark.parametrize(("rate", "peak", "tables"), [(0, 0, []), (9, 0, [2]), (9, 7, [2, 3])])
def test_police_gets_a_table_for_each_rate(rate: int, peak: int, tables: list[int]) -> None:
    action = nest((1, b"police\0"), (2, nest((1, police(rate, peak, (1, 1))))))
    kept, _ = options.cleaned_filter("matchall", nest((2, nest((1, action)))))
    again = options.fitted_filter("matchall", kept, ())
    for table in (2, 3):
        assert (attribute(table, bytes(1024)) in again) == (table in tables)


# ---- messages


@given(some.qdiscs | some.inner_qdiscs)
def test_a_qdisc_is_set_where_it_was_read(qdisc: Qdisc) -> None:
    plain = attrs.evolve(qdisc, kind="pfifo", options="37000000")
    message = Message(reply_to(traffic.put_qdisc(NIC, plain).body))
    read = Qdisc(
        message.kind or "",
        message.handle,
        message.options.hex(),
        message.parent,
        message.size_table.hex(),
        message.ingress_block,
        message.egress_block,
    )
    assert read == plain


@given(some.traffic_classes)
def test_a_class_is_set_as_it_was_read(item: TrafficClass) -> None:
    message = Message(reply_to(traffic.put_class(NIC, item).body))
    assert (message.kind, message.handle, message.parent) == (item.kind, item.handle, item.parent)
    assert message.options.hex() == item.options


@given(some.filters)
def test_a_filter_is_set_where_it_was_read(item: Filter) -> None:
    plain = attrs.evolve(item, kind="fw", options=nest((1, number(7))).hex())
    message = Message(reply_to(traffic.put_filter(NIC, plain).body))
    assert (message.kind, message.parent, message.handle) == ("fw", item.parent, item.handle)
    assert (message.priority, message.protocol) == (item.priority, item.protocol)
    assert (message.chain, message.options.hex()) == (item.chain, plain.options)


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 2**40))
def test_a_redirection_is_set_as_it_was_read_and_for_the_netdev(
    index: int, was: int, age: int
) -> None:
    def reply(index: int, target: int, age: int) -> Reply:
        start = struct.pack("=IIiiiiI", index, 0, 4, 2, 1, 1, target)
        chosen = nest((1, struct.pack("=4Q", age, 1, 2, 3)), (2, start))
        return reply_to(
            bytes(4) + nest((1, nest((1, nest((1, b"mirred\0"), (2, chosen))))), (3, b""))
        )

    ((target, read),) = traffic.redirections_in(reply(index, was, age), 2.0**40)
    assert (target, read.number) == (was, index)
    assert read.since_s == round(2**40 - age / 100)
    start = struct.pack("=IIiiiiI", index, 0, 4, 0, 0, 1, NIC.ifindex)
    assert start in traffic.put_redirection(NIC, read).body


def reply_to(body: bytes) -> Reply:
    return Reply(0, 0, body)
