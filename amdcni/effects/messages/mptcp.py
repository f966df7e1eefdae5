"""MPTCP endpoints, by generic netlink: first the family by its name, then its messages."""

from collections.abc import Iterator
from typing import Final

from pyroute2.netlink import genlmsg

from amdcni.core.unsaved import Kind, Unsaved
from amdcni.effects.messages.common import Layout, ip_of, named_in, number_of
from amdcni.effects.rtnetlink import Reply, Request

_MPTCP_PM_CMD_GET_ADDR: Final = 3


class EndpointMessage(genlmsg):  # type: ignore[misc]
    """A message of the path manager."""

    nla_map = ((1, "MPTCP_PM_ATTR_ADDR", "cdata"),)


_ENDPOINT: Final = Layout(EndpointMessage)
_ADDRESS_NAMES: Final = {3: "ADDR4", 4: "ADDR6", 7: "IF_IDX"}


def query(family: int) -> Request:
    """The query for all endpoints."""
    return _ENDPOINT.request(family, {"cmd": _MPTCP_PM_CMD_GET_ADDR, "version": 1})


def endpoints_in(reply: Reply, ifindex: int) -> Iterator[Unsaved]:
    """The endpoint, if it belongs to that netdev."""
    _, attributes = _ENDPOINT.read(reply.body)
    address = named_in(attributes.get("MPTCP_PM_ATTR_ADDR", b""), 0, _ADDRESS_NAMES)
    ip = ip_of(address.get("ADDR4", address.get("ADDR6")))
    if ip is not None and number_of(address.get("IF_IDX")) == ifindex:
        yield Unsaved(Kind.MPTCP_ENDPOINT, str(ip))
