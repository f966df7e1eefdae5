"""Neighbours, proxies among them, and hardware addresses of links: RTM_*NEIGH, RTM_GETNEIGHTBL."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from pyroute2.netlink import NLM_F_CREATE, NLM_F_REPLACE, nla, nlmsg
from pyroute2.netlink.rtnl import RTM_GETNEIGH, RTM_GETNEIGHTBL, RTM_NEWNEIGH

from amdcni.core.host import LinkFlag, Neighbour, Netdev
from amdcni.core.names import MacAddress
from amdcni.effects.messages.common import (
    FAMILIES,
    Layout,
    ip_of,
    mac_of,
    named_in,
    number_of,
    octets_of,
    u8,
    u32,
)
from amdcni.effects.rtnetlink import Reply, Request

NUD_PERMANENT: Final = 0x80
NTF_SELF: Final = 0x02
_NTF_PROXY: Final = 0x08
_NTF_EXT_LEARNED: Final = 0x10
_NTF_EXT_MANAGED: Final = 0x01  # in NDA_FLAGS_EXT
_NUD_STALE: Final = 0x04
_NUD_NOARP: Final = 0x40
AF_BRIDGE: Final = 7
_GROUP_BIT: Final = 0x01  # of the first octet (IEEE 802)


class NeighbourMessage(nlmsg):  # type: ignore[misc]
    """A message about a neighbour, whose hardware address may have any number of octets."""

    prefix = "NDA_"
    fields = (
        ("family", "B"),
        ("__pad", "3x"),
        ("ifindex", "i"),
        ("state", "H"),
        ("flags", "B"),
        ("ndm_type", "B"),
    )
    nla_map = (
        (1, "NDA_DST", "ipaddr"),
        (2, "NDA_LLADDR", "cdata"),
        (8, "NDA_IFINDEX", "uint32"),
        (12, "NDA_PROTOCOL", "uint8"),
        (15, "NDA_FLAGS_EXT", "uint32"),
    )


_LAYOUT: Final = Layout(NeighbourMessage)


@lru_cache(maxsize=16)
def query(ifindex: int, *, proxies: bool = False) -> Request:
    """The query for the neighbours or proxy neighbours of one link; answers have others', too."""
    fields = {"flags": _NTF_PROXY} if proxies else {}
    return _LAYOUT.request(RTM_GETNEIGH, fields, [("NDA_IFINDEX", u32(ifindex))])


def neighbour_of(reply: Reply, netdev: Netdev) -> Neighbour | None:
    """The neighbour in an RTM_NEWNEIGH; None unless somebody has set it on that netdev.

    The kernel itself makes NOARP neighbours: for groups, and on a netdev that does without ARP all
    that it sends to, with the netdev's own hardware address (net/ipv4/arp.c, arp_constructor).
    """
    fields, attributes = _LAYOUT.read(reply.body)
    address, octets = ip_of(attributes.get("NDA_DST")), attributes.get("NDA_LLADDR", b"")
    if address is None or fields["ifindex"] != netdev.ifindex:
        return None
    state, mac = fields["state"], mac_of(attributes.get("NDA_LLADDR"))
    kernels_own = netdev.flags & LinkFlag.NOARP and mac == netdev.mac
    managed = bool((number_of(attributes.get("NDA_FLAGS_EXT")) or 0) & _NTF_EXT_MANAGED)
    if state & NUD_PERMANENT:
        state, managed = NUD_PERMANENT, False
    elif managed:
        state, mac = 0, None
    elif fields["flags"] & _NTF_EXT_LEARNED:
        state = 0 if mac is None else state & _NUD_NOARP or _NUD_STALE
    elif state & _NUD_NOARP and is_of_a_station(octets) and not kernels_own:
        state = _NUD_NOARP
    else:
        return None
    return Neighbour(
        address=address,
        mac=mac,
        flags=fields["flags"],
        protocol=number_of(attributes.get("NDA_PROTOCOL")) or None,
        state=state,
        managed=managed,
    )


def is_of_a_station(octets: bytes) -> bool:
    """Whether a hardware address is there and not that of a group."""
    return any(octets) and not octets[0] & _GROUP_BIT


def proxy_of(reply: Reply, ifindex: int) -> Neighbour | None:
    """The proxy neighbour in an RTM_NEWNEIGH; None if it is of another link."""
    fields, attributes = _LAYOUT.read(reply.body)
    address = ip_of(attributes.get("NDA_DST"))
    if address is None or not fields["flags"] & _NTF_PROXY or fields["ifindex"] != ifindex:
        return None
    return Neighbour(
        address=address,
        flags=fields["flags"],
        protocol=number_of(attributes.get("NDA_PROTOCOL")) or None,
    )


def hardware_query(ifindex: int) -> Request:
    """The query for the hardware addresses of one link that are not the link's own."""
    fields = {"family": AF_BRIDGE}
    return _LAYOUT.request(RTM_GETNEIGH, fields, [("NDA_IFINDEX", u32(ifindex))])


def received_for(reply: Reply, ifindex: int) -> MacAddress | None:
    """The address of one station that the link receives for; None if of a group or another link.

    An entry with an IP address, or without a hardware address, says where a VXLAN sends.
    """
    fields, attributes = _LAYOUT.read(reply.body)
    octets = attributes.get("NDA_LLADDR", b"")
    if not is_of_a_station(octets) or fields["ifindex"] != ifindex:
        return None
    if "NDA_DST" in attributes:
        return None
    lasting = fields["state"] & NUD_PERMANENT and fields["flags"] & NTF_SELF
    return mac_of(octets) if lasting else None


def put(netdev: Netdev, neighbour: Neighbour) -> Request:
    """The request to set the neighbour of a netdev."""
    mac = None if neighbour.mac is None else octets_of(neighbour.mac)
    more = u32(_NTF_EXT_MANAGED) if neighbour.managed else None
    attributes = [("NDA_LLADDR", mac), ("NDA_FLAGS_EXT", more)]
    return _put(netdev, neighbour, {"state": neighbour.state}, attributes)


def put_proxy(netdev: Netdev, neighbour: Neighbour) -> Request:
    """The request to set the proxy neighbour of a netdev."""
    return _put(netdev, neighbour, {}, [])


def _put(
    netdev: Netdev,
    neighbour: Neighbour,
    fields: dict[str, int],
    attributes: Sequence[tuple[str, bytes | None]],
) -> Request:
    fields = {
        "ifindex": netdev.ifindex,
        "family": FAMILIES[neighbour.address.version],
        "flags": neighbour.flags,
        **fields,
    }
    attributes = [
        ("NDA_DST", neighbour.address.packed),
        *attributes,
        ("NDA_PROTOCOL", None if neighbour.protocol is None else u8(neighbour.protocol)),
    ]
    return _LAYOUT.request(RTM_NEWNEIGH, fields, attributes, NLM_F_CREATE | NLM_F_REPLACE)


# ---- the parameters of their tables


class TableMessage(nlmsg):  # type: ignore[misc]
    """A message about what one netdev does about neighbours, or what every new one does."""

    prefix = "NDTA_"
    fields = (("family", "B"), ("__pad", "3x"))
    nla_map = ((6, "NDTA_PARMS", "parameters"),)

    class parameters(nla):  # type: ignore[misc]
        """Counts, and times in milliseconds."""

        prefix = "NDTPA_"
        nla_map = (
            (1, "NDTPA_IFINDEX", "uint32"),
            (4, "NDTPA_BASE_REACHABLE_TIME", "uint64"),
            (5, "NDTPA_RETRANS_TIME", "uint64"),
            (6, "NDTPA_GC_STALETIME", "uint64"),
            (7, "NDTPA_DELAY_PROBE_TIME", "uint64"),
            (8, "NDTPA_QUEUE_LEN", "uint32"),
            (9, "NDTPA_APP_PROBES", "uint32"),
            (10, "NDTPA_UCAST_PROBES", "uint32"),
            (11, "NDTPA_MCAST_PROBES", "uint32"),
            (12, "NDTPA_ANYCAST_DELAY", "uint64"),
            (13, "NDTPA_PROXY_DELAY", "uint64"),
            (14, "NDTPA_PROXY_QLEN", "uint32"),
            (15, "NDTPA_LOCKTIME", "uint64"),
            (16, "NDTPA_QUEUE_LENBYTES", "uint32"),
            (17, "NDTPA_MCAST_REPROBES", "uint32"),
            (19, "NDTPA_INTERVAL_PROBE_TIME_MS", "uint64"),
        )


_TABLE: Final = Layout(TableMessage)
_PARAMETERS: Final = Layout(TableMessage.parameters)
_SYSCTLS: Final = {
    "NDTPA_ANYCAST_DELAY": "anycast_delay",
    "NDTPA_APP_PROBES": "app_solicit",
    "NDTPA_BASE_REACHABLE_TIME": "base_reachable_time_ms",
    "NDTPA_DELAY_PROBE_TIME": "delay_first_probe_time",
    "NDTPA_GC_STALETIME": "gc_stale_time",
    "NDTPA_INTERVAL_PROBE_TIME_MS": "interval_probe_time_ms",
    "NDTPA_LOCKTIME": "locktime",
    "NDTPA_MCAST_PROBES": "mcast_solicit",
    "NDTPA_MCAST_REPROBES": "mcast_resolicit",
    "NDTPA_PROXY_DELAY": "proxy_delay",
    "NDTPA_PROXY_QLEN": "proxy_qlen",
    "NDTPA_QUEUE_LEN": "unres_qlen",
    "NDTPA_QUEUE_LENBYTES": "unres_qlen_bytes",
    "NDTPA_RETRANS_TIME": "retrans_time_ms",
    "NDTPA_UCAST_PROBES": "ucast_solicit",
}
"""The sysctl that shows each parameter."""

_SECONDS: Final = ("delay_first_probe_time", "gc_stale_time")
_TICKS: Final = ("anycast_delay", "locktime", "proxy_delay")
"""What the kernel rounds to ticks of USER_HZ by way of its own ticks, whose number differs."""


def tables_query(version: int) -> Request:
    """The query for the tables of IPv4 or IPv6, with the parameters of all netdevs.

    Only the first network namespace has those of new netdevs as sysctls, but those of all others
    get them, too (net/core/neighbour.c, neigh_parms_alloc).
    """
    return _TABLE.request(RTM_GETNEIGHTBL, {"family": FAMILIES[version]})


def parameters_in(reply: Reply) -> tuple[int | None, dict[str, int]]:
    """Parameters by the names of their sysctls, all times in milliseconds.

    They are those of the netdev with that ifindex or, if it is None, of every new one.
    """
    _, table = _TABLE.read(reply.body)
    found = named_in(table.get("NDTA_PARMS", b""), 0, _PARAMETERS.names)
    values = {name: number_of(found[kind]) or 0 for kind, name in _SYSCTLS.items() if kind in found}
    return number_of(found.get("NDTPA_IFINDEX")), values


def as_sysctl(name: str, value: int) -> str | None:
    """What the sysctl shows of a parameter; None if that cannot be told exactly."""
    if name in _TICKS:
        return None
    return str(value // 1000 if name in _SECONDS else value)
