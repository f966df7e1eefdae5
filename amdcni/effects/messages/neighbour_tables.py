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

_COUNT: Final = 1
_MS: Final = 1
_TICK: Final = 10  # in milliseconds: USER_HZ is 100
_SECOND: Final = 1000
_SYSCTLS: Final = {
    "anycast_delay": ("NDTPA_ANYCAST_DELAY", _TICK),
    "app_solicit": ("NDTPA_APP_PROBES", _COUNT),
    "base_reachable_time_ms": ("NDTPA_BASE_REACHABLE_TIME", _MS),
    "delay_first_probe_time": ("NDTPA_DELAY_PROBE_TIME", _SECOND),
    "gc_stale_time": ("NDTPA_GC_STALETIME", _SECOND),
    "interval_probe_time_ms": ("NDTPA_INTERVAL_PROBE_TIME_MS", _MS),
    "locktime": ("NDTPA_LOCKTIME", _TICK),
    "mcast_resolicit": ("NDTPA_MCAST_REPROBES", _COUNT),
    "mcast_solicit": ("NDTPA_MCAST_PROBES", _COUNT),
    "proxy_delay": ("NDTPA_PROXY_DELAY", _TICK),
    "proxy_qlen": ("NDTPA_PROXY_QLEN", _COUNT),
    "retrans_time_ms": ("NDTPA_RETRANS_TIME", _MS),
    "ucast_solicit": ("NDTPA_UCAST_PROBES", _COUNT),
    "unres_qlen": ("NDTPA_QUEUE_LEN", _COUNT),
    "unres_qlen_bytes": ("NDTPA_QUEUE_LENBYTES", _COUNT),
}
"""The parameter that each sysctl shows, and its unit; times are in milliseconds in a message."""


def query(version: int) -> Request:
    """The query for the tables of IPv4 or IPv6, with the parameters of all netdevs."""
    return _LAYOUT.request(RTM_GETNEIGHTBL, {"family": FAMILIES[version]})


def sysctls_of(reply: Reply) -> dict[str, str]:
    """What a new netdev gets, by the names of the sysctls; nothing if it is of one netdev."""
    _, table = _LAYOUT.read(reply.body)
    found = named_in(table.get("NDTA_PARMS", b""), 0, _PARAMETERS.names)
    if "NDTPA_IFINDEX" in found:
        return {}
    values = {name: (number_of(found.get(kind)), unit) for name, (kind, unit) in _SYSCTLS.items()}
    return {name: str(each // unit) for name, (each, unit) in values.items() if each is not None}
