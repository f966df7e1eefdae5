"""MPTCP endpoints, by generic netlink: first the family by its name, then its messages."""

from collections.abc import Iterator
from typing import Final

from pyroute2.netlink import genlmsg

from amdcni.core.unsaved import Kind, Unsaved
from amdcni.effects.messages.common import Layout, ip_of, named_in, number_of, request
from amdcni.effects.rtnetlink import Reply, Request

_GENL_ID_CTRL: Final = 0x10
_CTRL_CMD_GETFAMILY: Final = 3
_MPTCP_PM_CMD_GET_ADDR: Final = 3


class FamilyMessage(genlmsg):  # type: ignore[misc]
    """A message of the controller of generic netlink."""

    nla_map = ((1, "CTRL_ATTR_FAMILY_ID", "uint16"), (2, "CTRL_ATTR_FAMILY_NAME", "asciiz"))


class EndpointMessage(genlmsg):  # type: ignore[misc]
    """A message of the path manager."""

    nla_map = ((1, "MPTCP_PM_ATTR_ADDR", "cdata"),)


_FAMILY: Final = Layout(FamilyMessage)
_ENDPOINT: Final = Layout(EndpointMessage)
_ADDRESS_NAMES: Final = {3: "ADDR4", 4: "ADDR6", 7: "IF_IDX"}


def family_query() -> Request:
    """The query for the number of the path manager's family."""
    name = [("CTRL_ATTR_FAMILY_NAME", "mptcp_pm")]
    fields = {"cmd": _CTRL_CMD_GETFAMILY, "version": 1}
    return request(_GENL_ID_CTRL, FamilyMessage(), fields, name)


def family_of(reply: Reply) -> int:
    """The number in the controller's answer."""
    return number_of(_FAMILY.read(reply.body)[1].get("CTRL_ATTR_FAMILY_ID")) or 0


def query(family: int) -> Request:
    """The query for all endpoints."""
    return request(family, EndpointMessage(), {"cmd": _MPTCP_PM_CMD_GET_ADDR, "version": 1})


def endpoints_in(reply: Reply, ifindex: int) -> Iterator[Unsaved]:
    """The endpoint, if it belongs to that netdev."""
    _, attributes = _ENDPOINT.read(reply.body)
    address = named_in(attributes.get("MPTCP_PM_ATTR_ADDR", b""), 0, _ADDRESS_NAMES)
    ip = ip_of(address.get("ADDR4", address.get("ADDR6")))
    if ip is not None and number_of(address.get("IF_IDX")) == ifindex:
        yield Unsaved(Kind.MPTCP_ENDPOINT, str(ip))
