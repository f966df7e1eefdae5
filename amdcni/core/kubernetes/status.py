"""The annotation `k8s.v1.cni.cncf.io/network-status`, in which Multus reports what a pod got.

De-facto standard §5.5; github.com/k8snetworkplumbingwg/network-attachment-definition-client,
pkg/utils.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from amdcni.core.host import IpAddress
from amdcni.core.kubernetes.golang import to_go_json
from amdcni.core.spec import Dns, Interface, Json, Result

NETWORK_STATUS: Final = "k8s.v1.cni.cncf.io/network-status"


@attrs.frozen
class NetworkStatus:
    """What a pod got from one network, as one interface.

    `name` is `namespace/name` of the definition, or the name of the cluster's default network,
    which is `default`.  `gateways` are those of default routes, None for one through the device
    alone.  `device_info` is what the device plugin has left about the device.
    """

    name: str
    interface: Interface
    ips: tuple[IpAddress, ...] = ()
    default: bool = False
    dns: Dns = attrs.field(factory=Dns)
    device_info: Json | None = None
    gateways: tuple[IpAddress | None, ...] = ()


def statuses_of(
    name: str, result: Result, *, default: bool = False, device_info: Json | None = None
) -> Iterator[NetworkStatus]:
    """What the result of a network's last plugin says, one status for each interface in the pod.

    An address that names no interface, gateways, and being the default go to the first.
    """
    inside = [(i, netdev) for i, netdev in enumerate(result.interfaces) if netdev.sandbox]
    for place, (index, netdev) in enumerate(inside):
        first = place == 0
        of = {index, None} if first else {index}
        yield NetworkStatus(
            name,
            netdev,
            tuple(ip.address.ip for ip in result.ips if ip.interface in of),
            default=default and first,
            dns=result.dns or Dns(),
            device_info=device_info,
            gateways=tuple(r.gw for r in result.routes if r.dst.network.prefixlen == 0 and first),
        )


def status_annotation(statuses: Iterable[NetworkStatus]) -> str:
    """The text of the annotation, as Go writes it."""
    texts = (to_go_json(_to_json(status), indent=4) for status in statuses)
    return f"[{','.join(texts)}]"


def _to_json(status: NetworkStatus) -> dict[str, Any]:
    netdev, dns = status.interface, status.dns
    dns_keys: dict[str, Any] = {
        "nameservers": list(dns.nameservers),
        "domain": dns.domain,
        "search": list(dns.search),
        "options": list(dns.options),
    }
    keys: dict[str, Any] = {
        "name": status.name,
        "interface": netdev.name,
        "ips": list(map(str, status.ips)),
        "mac": netdev.mac,
        "mtu": netdev.mtu,
        "default": status.default,
    }
    given = {key: value for key, value in keys.items() if value}
    given["dns"] = {key: value for key, value in dns_keys.items() if value}
    if status.device_info is not None:
        given["device-info"] = status.device_info
    if status.gateways:
        given["gateway"] = ["<nil>" if gw is None else str(gw) for gw in status.gateways]
    return given
