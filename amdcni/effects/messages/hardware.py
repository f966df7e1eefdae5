"""What is asked of the driver of a NIC only to name it: virtual functions and DCB."""

import struct
from collections.abc import Iterator
from typing import Final

from pyroute2.netlink.rtnl import RTM_GETLINK

from amdcni.core.unsaved import Kind, Unsaved
from amdcni.effects.messages.common import Layout, octets_of_text, u32
from amdcni.effects.messages.links import LinkMessage
from amdcni.effects.rtnetlink import Reply, Request, attribute, attributes_in

# ---- the virtual functions of a physical one

_VF_INFO: Final = 1 << 0  # RTEXT_FILTER_VF
_NO_STATISTICS: Final = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_LINK: Final = Layout(LinkMessage, {22: "IFLA_VFINFO_LIST"})

_SETTINGS: Final = {1: 32, 2: 8, 3: 4, 5: 4, 6: 8, 9: 4}
"""IFLA_VF_MAC, VLAN, TX_RATE, LINK_STATE, RATE and TRUST, with the size of each value.

Each begins with the number of the function, and is 0 unless somebody has set it.  Whether addresses
are checked (SPOOFCHK) is left out, since drivers differ in what they begin with.
"""


def virtual_functions_query(ifindex: int) -> Request:
    """The query for the link with its virtual functions."""
    mask = [("IFLA_EXT_MASK", u32(_VF_INFO | _NO_STATISTICS))]
    return _LINK.request(RTM_GETLINK, {"index": ifindex}, mask)


def virtual_functions_in(link: Reply) -> Iterator[Unsaved]:
    """The virtual functions that have settings."""
    listed = _LINK.read(link.body)[1].get("IFLA_VFINFO_LIST", b"")
    for _, described in attributes_in(listed, 0):
        for kind, value in attributes_in(described, 0):
            size = _SETTINGS.get(kind, 0)
            if any(value[4 : 4 + size]):
                yield Unsaved(Kind.VIRTUAL_FUNCTION, str(struct.unpack_from("=I", value)[0]))


# ---- data center bridging

_RTM_GETDCB: Final = 78
_DCB_CMD_IEEE_GET: Final = 21
_ETS, _PFC, _APPS = 1, 2, 3  # DCB_ATTR_IEEE_*
_TSA_OFFSET: Final = 19  # struct ieee_ets, tc_tsa
_CLASSES: Final = 8
_PFC_ENABLED_OFFSET: Final = 1  # struct ieee_pfc, pfc_en


_DCB_MESSAGE: Final = struct.Struct("=BBxx")  # struct dcbmsg: family, command
_IFNAME, _IEEE = 1, 13  # DCB_ATTR_*


def dcb_query(ifname: str) -> Request:
    """The query for what IEEE 802.1Qaz describes."""
    name = attribute(_IFNAME, octets_of_text(ifname))
    return Request(_RTM_GETDCB, 0, _DCB_MESSAGE.pack(0, _DCB_CMD_IEEE_GET) + name)


def dcb_in(reply: Reply) -> Iterator[Unsaved]:
    """What is switched on, or was added."""
    attributes = dict(attributes_in(reply.body, _DCB_MESSAGE.size))
    described = dict(attributes_in(attributes.get(_IEEE, b""), 0))
    if any(described.get(_ETS, b"")[_TSA_OFFSET : _TSA_OFFSET + _CLASSES]):
        yield Unsaved(Kind.DCB, "ETS")
    if any(described.get(_PFC, b"")[_PFC_ENABLED_OFFSET : _PFC_ENABLED_OFFSET + 1]):
        yield Unsaved(Kind.DCB, "PFC")
    if described.get(_APPS):
        yield Unsaved(Kind.DCB, "application priorities")
