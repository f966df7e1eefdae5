"""Configurations for the plugins of the CNI project, so that they can be judged without one."""

from typing import Any, Final

from amdcni.core.spec import Json

_ADDRESSES: Final = {"ipam": {"type": "host-local", "subnet": "10.9.0.0/29"}}
_MAKER: Final = {"type": "ptp", **_ADDRESSES}


def _alone(**config: Any) -> dict[str, Any]:
    return {"name": "conformance", **config}


def _chained(**config: Any) -> dict[str, Any]:
    return _alone(plugins=[_MAKER, config])


CONFIGURATIONS: Final[dict[str, Json]] = {
    "amd-host-device": _alone(deviceID="0000:c1:00.0", **_ADDRESSES),
    "bandwidth": _chained(
        type="bandwidth",
        **dict.fromkeys(("ingressRate", "ingressBurst", "egressRate", "egressBurst"), 8_000_000),
    ),
    "bridge": _alone(**_ADDRESSES),
    "dhcp": _alone(type="ptp", ipam={"type": "dhcp"}),
    "dummy": _alone(**_ADDRESSES),
    "firewall": _chained(type="firewall", backend="iptables"),
    "host-device": _alone(device="eth1", **_ADDRESSES),
    "host-local": _alone(type="ptp", **_ADDRESSES),
    "ipvlan": _alone(master="eth1", **_ADDRESSES),
    "macvlan": _alone(master="eth1", **_ADDRESSES),
    "portmap": _chained(
        type="portmap",
        snat=True,
        runtimeConfig={
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
        },
    ),
    "ptp": _alone(**_ADDRESSES),
    "sbr": _chained(type="sbr"),
    "static": _alone(
        type="ptp", ipam={"type": "static", "addresses": [{"address": "10.9.0.2/29"}]}
    ),
    "tap": _alone(**_ADDRESSES),
    "tuning": _chained(type="tuning", mtu=1400),
    "vlan": _alone(master="eth1", vlanId=7, **_ADDRESSES),
    "vrf": _chained(type="vrf", vrfname="red"),
}
"""By the name of the executable, without a version, so that each is judged in its newest one.

`loopback` needs none.  `dhcp` works only beside its daemon and a server, which the node lacks.
"""

IFNAMES: Final = {"loopback": "lo"}
"""CNI_IFNAME of those that work only with one."""
