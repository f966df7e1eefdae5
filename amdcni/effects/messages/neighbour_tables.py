"""What a new netdev does about neighbours: the parameters of their tables (RTM_GETNEIGHTBL).

Only the first network namespace has them as sysctls, but new netdevs of all others get them too
(net/core/neighbour.c, neigh_parms_alloc).
"""

from typing import Final

from pyroute2.netlink.rtnl import RTM_GETNEIGHTBL
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from amdcni.effects.messages.common import FAMILIES, Layout, named_in, number_of
from amdcni.effects.rtnetlink import Reply, Request

_LAYOUT: Final = Layout(ndtmsg)
_PARAMETERS: Final = Layout(
    ndtmsg.parms, {17: "NDTPA_MCAST_REPROBES", 19: "NDTPA_INTERVAL_PROBE_TIME_MS"}
)

_NAMES: Final = {
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


def query(version: int) -> Request:
    """The query for the tables of IPv4 or IPv6, with the parameters of all netdevs."""
    return _LAYOUT.request(RTM_GETNEIGHTBL, {"family": FAMILIES[version]})


def parameters_in(reply: Reply) -> tuple[int | None, dict[str, int]]:
    """Parameters by the names of their sysctls, all times in milliseconds.

    They are those of the netdev with that ifindex or, if it is None, of every new one.
    """
    _, table = _LAYOUT.read(reply.body)
    found = named_in(table.get("NDTA_PARMS", b""), 0, _PARAMETERS.names)
    values = {name: number_of(found[kind]) or 0 for kind, name in _NAMES.items() if kind in found}
    return number_of(found.get("NDTPA_IFINDEX")), values


def as_sysctl(name: str, value: int) -> str | None:
    """What the sysctl shows of a parameter; None if that cannot be told exactly."""
    if name in _TICKS:
        return None
    return str(value // 1000 if name in _SECONDS else value)
