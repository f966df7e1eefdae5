"""What a netdev loses in a pod and no record can hold: reported when it is lent, never silent."""

from collections.abc import Iterable
from enum import Enum
from typing import Final

import attrs


class Kind(Enum):
    """The kinds of such things, each with the words for one and for several."""

    QDISC = ("qdisc", "qdiscs")
    CLASS = ("class", "classes")
    CHAIN = ("chain", "chains")
    FILTER = ("filter", "filters")
    ESTIMATOR = ("rate estimator of the", "rate estimators of the")
    SIZE_TABLE = ("size table of the qdisc", "size tables of the qdiscs")
    MPLS_ROUTE = ("MPLS route", "MPLS routes")
    ADDRESS_LABEL = ("address label of", "address labels of")
    RULE = ("policy rule", "policy rules")
    RSS_CONTEXT = ("RSS context", "RSS contexts")
    RECEIVE_RULE = ("rule for received packets", "rules for received packets")
    MPTCP_ENDPOINT = ("MPTCP endpoint", "MPTCP endpoints")
    XDP = ("XDP program", "XDP programs")
    TCX = ("tcx program", "tcx programs")
    TIMESTAMPING = ("hardware timestamping", "hardware timestamping")
    VIRTUAL_FUNCTION = ("settings of the virtual function", "settings of the virtual functions")
    DCB = ("DCB settings", "DCB settings")


@attrs.frozen
class Unsaved:
    """One such thing, by its name among those of its kind."""

    kind: Kind
    name: str


_NAMED: Final = 8


def in_words(found: Iterable[Unsaved]) -> tuple[str, ...]:
    """A line for each kind, which names the first few of the kind and counts the rest."""
    names: dict[Kind, list[str]] = {}
    for each in dict.fromkeys(found):
        names.setdefault(each.kind, []).append(each.name)
    return tuple(_line(kind, each) for kind, each in names.items())


def _line(kind: Kind, names: list[str]) -> str:
    one, several = kind.value
    shown = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"the {one if len(names) == 1 else several} {shown}{more}"
