"""What is read of the traffic control of a netdev, and what is only named."""

import errno
import struct
from collections.abc import Mapping

import attrs
import pytest

from amdcni.core.aspects.traffic_control import (
    INGRESS_FILTERS,
    TC_H_INGRESS,
    TrafficControl,
)
from amdcni.core.host import TC_H_ROOT, Filter, Netdev, Qdisc
from amdcni.core.names import IfName
from amdcni.effects.rtnetlink import Reply, Request, RequestRefused, Rtnetlink, attribute
from amdcni.effects.traffic import read_traffic

NIC = Netdev(7, IfName("ens1"))
GETLINK, GETQDISC, GETTCLASS, GETTFILTER, GETCHAIN = 18, 38, 42, 46, 102
NOTHING = TrafficControl()


@attrs.define
class Kernel(Rtnetlink):
    """Answers each kind of request in the same way: with replies, or an error number."""

    answers_to: Mapping[int, list[Reply] | int]

    def dump(self, request: Request, wanted: object = None) -> list[Reply]:
        answer = self.answers_to.get(request.kind, [])
        if isinstance(answer, int):
            raise RequestRefused(answer)
        return answer

    def get(self, request: Request) -> Reply:
        return self.dump(request)[0]


def message(
    kind: str, handle: int, parent: int, options: bytes = b"", info: int = 0, *more: bytes
) -> Reply:
    fixed = struct.pack("=B3xiIII", 0, NIC.ifindex, handle, parent, info)
    parts = [attribute(1, kind.encode() + b"\0")] if kind else []
    return Reply(0, 0, fixed + b"".join([*parts, attribute(2, options), *more]))


def read(
    kept: TrafficControl | None, root: Reply | None, **answers: list[Reply] | int
) -> tuple[TrafficControl, tuple[str, ...]]:
    ingress = message("clsact", 0xFFFF0000, TC_H_INGRESS)
    kinds = {"qdiscs": GETQDISC, "filters": GETTFILTER, "links": GETLINK, "chains": GETCHAIN}
    kernel = Kernel({kinds[name]: answer for name, answer in answers.items()})
    return read_traffic(kernel, NIC, kept, root, None if root else ingress)


def htb(packets: int) -> bytes:
    return attribute(2, struct.pack("=IIIII", 0x30011, 10, 1, 0, packets))


@pytest.mark.parametrize(
    ("kind", "options"), [("htb", htb(7)), ("pie", b"1234"), ("pfifo", b"1234")]
)
def test_a_root_qdisc_that_an_older_version_kept_is_found_again(kind: str, options: bytes) -> None:
    kept = Qdisc(kind, 0x10000, options.hex())
    found, _ = read(TrafficControl(qdisc=kept), message(kind, 0x10000, TC_H_ROOT, options))
    assert found.qdisc == kept


def test_packets_counted_since_then_make_no_difference_to_it() -> None:
    kept = Qdisc("htb", 0x10000, htb(7).hex())
    found, _ = read(TrafficControl(qdisc=kept), message("htb", 0x10000, TC_H_ROOT, htb(9)))
    assert found.qdisc == kept


def test_what_is_in_a_qdisc_that_cannot_be_kept_is_named_with_it() -> None:
    inner = message("pfifo", 0x20000, 0x10001, b"1234")
    innermost = message("pfifo", 0x30000, 0x20001, b"1234")
    found, unsaved = read(None, message("red", 0x10000, TC_H_ROOT), qdiscs=[inner, innermost])
    assert found == NOTHING
    assert unsaved == ("the qdiscs red, pfifo 2: in class 1:1, pfifo 3: in class 2:1",)


def test_a_qdisc_that_the_kernel_made_itself_is_neither_kept_nor_named() -> None:
    default = message("fq_codel", 0, 0x10001)
    found, unsaved = read(None, message("mq", 0x10000, TC_H_ROOT), qdiscs=[default])
    assert found == TrafficControl(qdisc=Qdisc("mq", 0x10000))
    assert unsaved == ()


def mirrored(target: int) -> Reply:
    parameters = struct.pack("=IIiiiiI", 3, 0, 4, 1, 1, 1, target)
    action = attribute(1, b"mirred\0") + attribute(2, attribute(2, parameters))
    options = attribute(2, attribute(1, action))
    return message("matchall", 1, INGRESS_FILTERS, options, 5 << 16 | 8)


def test_a_filter_that_sends_to_a_netdev_that_has_just_gone_is_named() -> None:
    found, unsaved = read(None, None, filters=[mirrored(9)], links=errno.ENODEV)
    assert found.filters == ()
    assert unsaved == (
        "the filter matchall (priority 5, chain 0) of clsact ingress (the netdev 9 is gone)",
    )


def test_a_filter_that_sends_to_its_own_netdev_has_its_name_as_target() -> None:
    found, _ = read(None, None, filters=[mirrored(7)])
    assert [each.targets for each in found.filters] == [(NIC.ifname,)] * 2


def test_a_priority_without_filters_is_kept_as_it_is() -> None:
    bare = message("fw", 0, INGRESS_FILTERS, b"", 5 << 16 | 8)
    found, _ = read(None, None, filters=[bare])
    assert found.filters[0] == Filter("fw", INGRESS_FILTERS, 5, 8, 0)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT])
def test_a_kernel_without_chains_has_none(code: int) -> None:
    assert read(None, None, chains=code)[0].chains == ()


@pytest.mark.parametrize("what", ["filters", "chains"])
def test_what_cannot_be_read_is_named(what: str) -> None:
    _, unsaved = read(None, None, **{what: errno.EMSGSIZE})
    assert set(unsaved) == {f"{what}, if there are any: they cannot be read (Message too long)"}
