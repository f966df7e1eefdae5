"""Configurations for the plugins of the CNI project, so that they can be judged without one."""

from typing import Any, Final

from amdcni.core.spec import Json

_ADDRESSES: Final = {"ipam": {"type": "host-local", "subnet": "10.9.0.0/29"}}
_MAKER: Final = {"type": "ptp", **_ADDRESSES}


def _alone(**config: Any) -> dict[str, Any]:
    return {"name": "conformance", "cniVersion": "1.0.0", **config}


def _chained(**config: Any) -> dict[str, Any]:
    return _alone(plugins=[_MAKER, config])


CONFIGURATIONS: Final[dict[str, Json]] = {
    "amd-host-device": _alone(deviceID="0000:c1:00.0", **_ADDRESSES),
    "bandwidth": _chained(
        type="bandwidth",
        **dict.fromkeys(("ingressRate", "ingressBurst", "egressRate", "egressBurst"), 8_000_000),
    ),
    "bridge": _alone(**_ADDRESSES),
    "firewall": _chained(type="firewall", backend="iptables"),
    "host-device": _alone(device="eth1", **_ADDRESSES),
    "host-local": _alone(type="ptp", **_ADDRESSES),
    "ipvlan": _alone(master="eth1", **_ADDRESSES),
    "macvlan": _alone(master="eth1", **_ADDRESSES),
    "ptp": _alone(**_ADDRESSES),
    "sbr": _chained(type="sbr"),
    "static": _alone(
        type="ptp", ipam={"type": "static", "addresses": [{"address": "10.9.0.2/29"}]}
    ),
    "tuning": _chained(type="tuning", mtu=1400),
    "vlan": _alone(master="eth1", vlanId=7, **_ADDRESSES),
    "vrf": _chained(type="vrf", vrfname="red"),
}
"""By the name of the executable.  `portmap` and `dhcp` are left out: they need a daemon, or a
packet filter, that the node does not have."""

IFNAMES: Final = {"loopback": "lo"}
"""CNI_IFNAME of those that work only with one."""
