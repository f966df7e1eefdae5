"""The options of traffic control: what of a dump is configuration, and how that is set again.

The kernel reports counters and numbers among the options, and a few options otherwise than it takes
them.  Each kind that comes back exactly has a form here.  Of a kind or an attribute without one it
is not known, so that it cannot be kept.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import attrs

from amdcni.effects.rtnetlink import attribute

Edit = Callable[[bytes], bytes | None]
"""What takes the value of an attribute, and returns another one; None leaves the attribute out."""

_ATTRIBUTE: Final = struct.Struct("=HH")
_NUMBER: Final = struct.Struct("=I")
_KIND_MASK: Final = 0x3FFF


class CannotKeep(Exception):
    """Something would not come back as it was; the text says what."""


@attrs.frozen
class Form:
    """The options of a kind: a structure of `size` bytes, then attributes.

    `counted` are the parts of the structure that the kernel counts, `kept` the attributes that are
    configuration, `dropped` those that are not.  `cleaned` says what of a kept attribute is
    configuration, `fitted` how it is set, and `start` how the structure is set.  `actions` is the
    attribute with the actions of a filter.
    """

    size: int = 0
    counted: tuple[tuple[int, int], ...] = ()
    kept: frozenset[int] = frozenset()
    dropped: frozenset[int] = frozenset()
    cleaned: Mapping[int, Edit] = attrs.field(factory=dict)
    fitted: Mapping[int, Edit] = attrs.field(factory=dict)
    start: Callable[[bytes], bytes] | None = None
    actions: int | None = None

    @property
    def is_nest(self) -> bool:
        """Whether the options consist of attributes alone."""
        return not self.size


# ---- attributes


def _attributes(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """The attributes from `offset` on, each with its number and flags."""
    while offset < len(data):
        try:
            length, kind = _ATTRIBUTE.unpack_from(data, offset)
        except struct.error:
            raise CannotKeep("options of an unknown form") from None
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            raise CannotKeep("options of an unknown form")
        yield kind, data[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _edited(data: bytes, size: int, edit: Callable[[int, bytes], bytes | None]) -> bytes:
    """The data whose attributes after the first `size` bytes have been edited."""
    if len(data) < size:
        raise CannotKeep("options of an unknown form")
    parts = [data[: _aligned(size)]]
    for kind, value in _attributes(data, _aligned(size)):
        new = edit(kind & _KIND_MASK, value)
        if new is not None:
            parts.append(attribute(kind, new))
    return b"".join(parts)


def _without(*parts: tuple[int, int]) -> Edit:
    """What sets these parts of a value, each from one offset to another, to 0."""

    def edit(value: bytes) -> bytes:
        for start, end in parts:
            value = value[:start] + bytes(len(value[start:end])) + value[end:]
        return value

    return edit


def _refused_unless(acceptable: Callable[[bytes], bool], reason: str) -> Edit:
    def edit(value: bytes) -> bytes:
        if not acceptable(value):
            raise CannotKeep(reason)
        return value

    return edit


def _is_zero(value: bytes) -> bool:
    return not any(value)


# ---- qdiscs and classes


def _numbers(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def _upto(last: int) -> frozenset[int]:
    return frozenset(range(1, last + 1))


def _one_more(value: bytes) -> bytes:
    """A time in microseconds, which the kernel rounds down when it is set and when it is shown.

    It keeps units of 1024 ns: exactly the one that was shown as n comes from n + 1.
    """
    return _NUMBER.pack(min(_NUMBER.unpack(value)[0] + 1, 0xFFFFFFFF))


_HTB_VERSION_SHIFT: Final = 16


def _htb_version(value: bytes) -> bytes:
    """The global options of htb with the major version alone, which is what the kernel accepts."""
    (version,) = _NUMBER.unpack_from(value)
    return _NUMBER.pack(version >> _HTB_VERSION_SHIFT or version) + value[_NUMBER.size :]


_SFQ: Final = struct.Struct("=IiIII")  # tc_sfq_qopt: quantum, period, limit, divisor, flows


def _sfq_limit(data: bytes) -> bytes:
    """The options of sfq, whose limit lowers the number of flows when it is set.

    If it is below that number, it has never been set, so it is left at what it is by itself.
    """
    quantum, period, limit, divisor, flows = _SFQ.unpack_from(data)
    limit = 0 if flows > limit else limit
    return _SFQ.pack(quantum, period, limit, divisor, flows) + data[_SFQ.size :]


_VARYING_DELAY: Final = "a delay that varies: how it is distributed cannot be read"
_PLAIN: Final = Form()
_FIFO: Final = Form(size=4)
_PRIORITIES: Final = Form(size=20)

QDISCS: Final[Mapping[str, Form]] = {
    "bfifo": _FIFO,
    "cake": Form(
        kept=_upto(18) - {1},
        dropped=_numbers(1),
        cleaned={9: _refused_unless(_is_zero, "a rate that changes by itself")},
    ),
    "clsact": _PLAIN,
    "codel": Form(kept=_upto(5), fitted={1: _one_more, 3: _one_more, 5: _one_more}),
    "drr": _PLAIN,
    "ets": Form(kept=_numbers(1, 2, 3, 5)),
    "fq": Form(kept=_upto(18)),
    "fq_codel": Form(kept=_upto(11), fitted={1: _one_more, 3: _one_more, 7: _one_more}),
    "hfsc": Form(size=2),
    "htb": Form(
        kept=_numbers(2, 5, 9),
        dropped=_numbers(8),
        cleaned={2: _without((16, 20))},
        fitted={2: _htb_version},
    ),
    "ingress": _PLAIN,
    "mq": _PLAIN,
    "mqprio": Form(size=82, kept=_upto(5)),
    "multiq": Form(size=4),
    "netem": Form(
        size=24,
        kept=_numbers(1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 14),
        dropped=_numbers(9),
        cleaned={
            11: _refused_unless(_is_zero, _VARYING_DELAY),
            12: _refused_unless(lambda slot: _is_zero(slot[32:40]), _VARYING_DELAY),
        },
    ),
    "noqueue": _PLAIN,
    "pfifo": _FIFO,
    "pfifo_fast": _PRIORITIES,
    "pfifo_head_drop": _FIFO,
    "prio": _PRIORITIES,
    "sfq": Form(size=72, counted=((48, 72),), start=_sfq_limit),
    "tbf": Form(kept=_numbers(1, 4, 5), dropped=_numbers(8)),
}
"""The qdiscs that come back as they were.

Of others the kernel does not show all that was set, or shows it rounded: such as the table of red.
"""

CLASSES: Final[Mapping[str, Form]] = {
    "drr": Form(kept=_numbers(1)),
    "hfsc": Form(kept=_numbers(1, 2, 3)),
    # The level follows from the classes below.
    "htb": Form(kept=_numbers(1, 6, 7, 9), dropped=_numbers(8), cleaned={1: _without((36, 40))}),
}
"""The qdiscs whose classes somebody sets; those of others come with their qdisc."""


def cleaned_qdisc(kind: str, data: bytes) -> bytes:
    """What of the options of a qdisc is configuration; raises CannotKeep."""
    return _cleaned(_form_of(kind, QDISCS), data)


def cleaned_class(kind: str, data: bytes) -> bytes:
    """What of the options of a class is configuration; raises CannotKeep."""
    return _cleaned(_form_of(kind, CLASSES), data)


def fitted_qdisc(kind: str, data: bytes) -> bytes:
    """The options of a qdisc as they are set; those of a class are set as they are."""
    form = QDISCS.get(kind)
    return data if form is None else _fitted(form, data)


def is_nest(kind: str) -> bool:
    """Whether the options of a qdisc are attributes alone: some kinds want that to be said."""
    form = QDISCS.get(kind)
    return form is not None and form.is_nest


def _form_of(kind: str, forms: Mapping[str, Form]) -> Form:
    form = forms.get(kind)
    if form is None:
        raise CannotKeep("")
    return form


def _cleaned(form: Form, data: bytes, targets: list[int] | None = None) -> bytes:
    def edit(number: int, value: bytes) -> bytes | None:
        if number in form.dropped:
            return None
        if number == form.actions and targets is not None:
            return _cleaned_actions(value, targets)
        if number not in form.kept:
            raise CannotKeep(f"attribute {number}")
        clean = form.cleaned.get(number)
        return value if clean is None else clean(value)

    if not data:
        return data
    whole = _without(*form.counted)(data) or b""
    try:
        return _edited(whole, form.size, edit)
    except struct.error:
        raise CannotKeep("options of an unknown form") from None


def _fitted(form: Form, data: bytes) -> bytes:
    def edit(number: int, value: bytes) -> bytes | None:
        fit = form.fitted.get(number)
        return value if fit is None else fit(value)

    if not data:
        return data
    return _edited(data if form.start is None else form.start(data), form.size, edit)


_SIZES_PLACE: Final = 20  # of the number of sizes in struct tc_sizespec


def is_whole_size_table(data: bytes) -> bool:
    """Whether the kernel shows all of a size table (TCA_STAB): it does not show the sizes in it."""
    parts = [value for kind, value in _attributes(data, 0) if kind & _KIND_MASK == 1]
    return all(_is_zero(value[_SIZES_PLACE:]) for value in parts)


# ---- actions

_GENERIC: Final = ((0, 4), (12, 20))
"""Where struct tc_gen has the number of an action, and how often it is used."""

_POLICE: Final = ((0, 4), (44, 52))
_ONCE: Final = struct.pack("=ii", 1, 1)
_TARGET: Final = 24  # struct tc_mirred: tc_gen, what to do, the ifindex


@attrs.frozen
class ActionForm:
    """The options of an action; `parameters` are the attributes that begin with what it counts."""

    parameters: frozenset[int]
    kept: frozenset[int] = frozenset()
    dropped: frozenset[int] = frozenset()
    counted: tuple[tuple[int, int], ...] = _GENERIC


_ACTIONS: Final[Mapping[str, ActionForm]] = {
    "connmark": ActionForm(_numbers(1), dropped=_numbers(2, 3)),
    "csum": ActionForm(_numbers(1), dropped=_numbers(2, 3)),
    "gact": ActionForm(_numbers(2), kept=_numbers(3), dropped=_numbers(1, 4)),
    "mirred": ActionForm(_numbers(2), dropped=_numbers(1, 3)),
    "nat": ActionForm(_numbers(1), dropped=_numbers(2, 3)),
    "pedit": ActionForm(_numbers(2, 4), kept=_numbers(5), dropped=_numbers(1, 3)),
    "police": ActionForm(
        _numbers(1), kept=_numbers(5, 8, 9, 10, 11), dropped=_numbers(6, 7), counted=_POLICE
    ),
    "simple": ActionForm(_numbers(2), kept=_numbers(3), dropped=_numbers(1, 4)),
    "skbedit": ActionForm(_numbers(2), kept=_numbers(3, 4, 5, 7, 8, 9, 10), dropped=_numbers(1, 6)),
    "tunnel_key": ActionForm(_numbers(2), kept=_upto(14) - {1, 2, 8}, dropped=_numbers(1, 8)),
    "vlan": ActionForm(_numbers(2), kept=_numbers(3, 4, 6, 7, 8), dropped=_numbers(1, 5)),
}
"""The actions that come back as they were."""

_ACT_KIND: Final = 1
_ACT_OPTIONS: Final = 2
_ACT_FLAGS: Final = 7
_ACT_KEPT: Final = _numbers(1, 6, 8)
_ACT_DROPPED: Final = _numbers(3, 4, 5, 9, 10)
_ACT_USER_FLAGS: Final = 7


def _cleaned_actions(data: bytes, targets: list[int]) -> bytes:
    """The actions without numbers and counters; the ifindexes in them are added to `targets`."""
    return _edited(data, 0, lambda _, action: _cleaned_action(action, targets))


def _cleaned_action(data: bytes, targets: list[int]) -> bytes:
    kind = _kind_of(data)
    form = _ACTIONS.get(kind)
    if form is None:
        raise CannotKeep(f"the action {kind}")

    def edit_option(number: int, value: bytes) -> bytes | None:
        if number in form.dropped:
            return None
        if number in form.kept:
            return value
        if number not in form.parameters:
            raise CannotKeep(f"attribute {number} of the action {kind}")
        uses = slice(*form.counted[-1])
        if value[uses] != _ONCE:
            raise CannotKeep(f"the action {kind}, which is shared")
        if kind == "mirred":
            (target,) = _NUMBER.unpack_from(value, _TARGET)
            targets.append(target)
            value = value[:_TARGET] + bytes(4) + value[_TARGET + 4 :]
        return _without(*form.counted)(value)

    def edit(number: int, value: bytes) -> bytes | None:
        if number == _ACT_OPTIONS:
            return _edited(value, 0, edit_option)
        if number == _ACT_FLAGS:
            return _user_flags(value)
        if number in _ACT_DROPPED:
            return None
        if number not in _ACT_KEPT:
            raise CannotKeep(f"attribute {number} of the action {kind}")
        return value

    return _edited(data, 0, edit)


def _user_flags(value: bytes) -> bytes | None:
    """Flags with their mask, without those of the kernel."""
    flags, mask = (number & _ACT_USER_FLAGS for number in struct.unpack("=II", value))
    return struct.pack("=II", flags, mask) if mask else None


def _kind_of(action: bytes) -> str:
    kinds = [value for kind, value in _attributes(action, 0) if kind & _KIND_MASK == _ACT_KIND]
    return kinds[0].rstrip(b"\0").decode() if kinds else ""


def _fitted_actions(data: bytes, targets: Iterator[int]) -> bytes:
    def edit_action(_: int, action: bytes) -> bytes:
        kind = _kind_of(action)

        def edit(number: int, value: bytes) -> bytes:
            if number == _ACT_OPTIONS and kind == "mirred":
                return _edited(value, 0, lambda _, parameters: _with_target(parameters, targets))
            if number == _ACT_OPTIONS and kind == "police":
                return _with_rate_tables(value)
            return value

        return _edited(action, 0, edit)

    return _edited(data, 0, edit_action)


def _with_target(parameters: bytes, targets: Iterator[int]) -> bytes:
    return parameters[:_TARGET] + _NUMBER.pack(next(targets)) + parameters[_TARGET + 4 :]


_RATES: Final = ((20, 2), (32, 3))
"""Where struct tc_police has struct tc_ratespec, and the attribute with the table for it."""

_RATE: Final = 8  # in struct tc_ratespec
_CELL_LOG: Final = 3
_TABLE_BYTES: Final = 1024


def _with_rate_tables(options: bytes) -> bytes:
    """The options of police with a table for each rate.

    The kernel wants them, but computes the rates without them since Linux 3.8.
    """
    tables = []

    def edit(number: int, value: bytes) -> bytes:
        if number != 1:
            return value
        for place, table in _RATES:
            if any(value[place + _RATE : place + _RATE + 4]):
                value = value[:place] + bytes([_CELL_LOG]) + value[place + 1 :]
                tables.append(attribute(table, bytes(_TABLE_BYTES)))
        return value

    return _edited(options, 0, edit) + b"".join(tables)


# ---- filters

_SETTABLE_FLAGS: Final = 0x13  # TCA_CLS_FLAGS_SKIP_HW, _SKIP_SW, _VERBOSE


def _flags(value: bytes) -> bytes | None:
    """The flags that can be set: the kernel adds whether the filter is in hardware."""
    flags = _NUMBER.unpack(value)[0] & _SETTABLE_FLAGS
    return _NUMBER.pack(flags) if flags else None


_COMPARISONS: Final = frozenset({0, 1, 2, 3})
"""Ematches that refer to nothing outside: a container, cmp, nbyte, u32."""


def _ematches(value: bytes) -> bytes:
    """The tree of ematches, if all are of a kind that comes back."""
    for kind, inner in _attributes(value, 0):
        if kind & _KIND_MASK != 1:
            for _, match in _attributes(inner, 0):
                (number,) = struct.unpack_from("=H", match, 2)
                if number not in _COMPARISONS:
                    raise CannotKeep(f"an ematch of kind {number}")
    return value


_ETHERTYPE: Final = 8  # TCA_FLOWER_KEY_ETH_TYPE
_VLANS: Final = _numbers(23, 24, 25)
_INNER_VLANS: Final = _numbers(77, 78, 79, 102)
_VLAN_ETHERTYPES: Final = (b"\x81\x00", b"\x88\xa8")


def _with_vlan(data: bytes, protocol: int) -> bytes:
    """The options of flower as they are set: with the ethertype of a VLAN, which it does not show.

    In its place it shows that of what is in the VLAN, as it does in another attribute.
    """
    ethertype = struct.pack("=H", protocol)
    if ethertype not in _VLAN_ETHERTYPES or not _VLANS & {
        k & _KIND_MASK for k, _ in _attributes(data, 0)
    }:
        return data
    others = _edited(data, 0, lambda number, value: None if number == _ETHERTYPE else value)
    return others + attribute(_ETHERTYPE, ethertype)


FILTERS: Final[Mapping[str, Form]] = {
    "basic": Form(kept=_numbers(1, 2), dropped=_numbers(5, 6), cleaned={2: _ematches}, actions=3),
    "bpf": Form(kept=_numbers(3, 4, 5, 8, 9), cleaned={9: _flags}, actions=1),
    "cgroup": Form(kept=_numbers(3), cleaned={3: _ematches}, actions=1),
    "flow": Form(kept=_upto(8) | {12}, actions=9),
    "flower": Form(
        kept=_upto(111) - {3, *_INNER_VLANS, 86},
        dropped=_numbers(86),
        cleaned={22: _flags},
        actions=3,
    ),
    "fw": Form(kept=_numbers(1, 3, 5), actions=4),
    "matchall": Form(kept=_numbers(1, 3), dropped=_numbers(4, 5), cleaned={3: _flags}, actions=2),
    "route": Form(kept=_numbers(1, 2, 3), actions=6),
    "u32": Form(
        kept=_numbers(1, 2, 3, 4, 5, 8, 10, 11),
        dropped=_numbers(9, 12),
        cleaned={10: _without((8, 12)), 11: _flags},
        actions=7,
    ),
}
"""The filters that come back as they were, if their actions do.  BPF means a classic program."""


def cleaned_filter(kind: str, data: bytes) -> tuple[bytes, tuple[int, ...]]:
    """What of the options of a filter is configuration, and the ifindexes of its targets.

    Raises: CannotKeep.
    """
    targets: list[int] = []
    options = _cleaned(_form_of(kind, FILTERS), data, targets)
    if 0 in targets:
        raise CannotKeep("the action mirred to a netdev that is gone")
    return options, tuple(targets)


def cleaned_template(kind: str, data: bytes) -> bytes:
    """The options of the template of a chain; raises CannotKeep."""
    return _cleaned(_form_of(kind, FILTERS), data)


def fitted_filter(kind: str, data: bytes, targets: Iterable[int], protocol: int = 0) -> bytes:
    """The options of a filter as they are set, when its targets have these ifindexes."""
    if kind == "flower":
        data = _with_vlan(data, protocol)
    form, remaining = FILTERS.get(kind), iter(targets)

    def edit(number: int, value: bytes) -> bytes:
        return _fitted_actions(value, remaining) if number == actions else value

    actions = None if form is None else form.actions
    return _edited(data, 0, edit)
