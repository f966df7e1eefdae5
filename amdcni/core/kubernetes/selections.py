"""What a pod's annotation `k8s.v1.cni.cncf.io/networks` selects, in both of its forms.

Network Plumbing Working Group, "Kubernetes Network Custom Resource Definition De-facto Standard",
§4.1; github.com/k8snetworkplumbingwg/multus-cni, pkg/k8sclient.
"""

import ipaddress
import re
from typing import Final

import attrs

from amdcni.core.codec import decode_list, given_keys, spell, structure
from amdcni.core.errors import InvalidManifest, InvalidName, UndecodableInput
from amdcni.core.host import IpAddress
from amdcni.core.names import IfName, MacAddress, parse_ifname
from amdcni.core.spec import Json

NETWORKS: Final = "k8s.v1.cni.cncf.io/networks"

_LABEL: Final = "([a-z0-9](?:[-a-z0-9]*[a-z0-9])?)"
_ITEM: Final = re.compile(rf"(?:{_LABEL}\s*/\s*)?{_LABEL}(?:\s*@\s*{_LABEL})?")
_JSON: Final = frozenset('[{"')
"""Any of these in an annotation makes Multus read it as JSON."""


@attrs.frozen
class NetworkSelection:
    """One network that a pod selects; the attributes after `namespace` ask for something special.

    `ips` are addresses with or without a prefix length, `gateways` (JSON `default-route`) those of
    the routes by which this network becomes the pod's way out.
    """

    name: str
    namespace: str
    ifname: IfName | None = None
    mac: MacAddress | None = None
    ips: tuple[str, ...] = ()
    infiniband_guid: MacAddress | None = None
    cni_args: Json | None = None
    gateways: tuple[IpAddress, ...] = ()
    port_mappings: tuple[Json, ...] = ()
    bandwidth: Json | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@attrs.frozen
class _Element:
    name: str
    namespace: str | None = None
    ifname: IfName | None = None
    deprecated_ifname: IfName | None = None
    mac: MacAddress | None = None
    ips: tuple[str, ...] = ()
    infiniband_guid: MacAddress | None = None
    cni_args: Json | None = None
    gateways: tuple[IpAddress, ...] = ()
    port_mappings: tuple[Json, ...] = ()
    bandwidth: Json | None = None


spell(
    _Element,
    ifname="interface",
    deprecated_ifname="interfaceRequest",
    infiniband_guid="infiniband-guid",
    cni_args="cni-args",
    gateways="default-route",
    port_mappings="portMappings",
)


def parse_selections(
    annotation: str, namespace: str, what: str = NETWORKS
) -> tuple[NetworkSelection, ...]:
    """The networks that an annotation selects, in its order; `namespace` is that of the pod.

    `what` names the annotation in errors.

    Raises: InvalidManifest.
    """
    if _JSON & set(annotation):
        return tuple(_from_json(annotation, namespace, what))
    items = [item.strip() for item in annotation.split(",")]
    return tuple(_from_item(item, namespace, what) for item in items)


def _from_item(item: str, namespace: str, what: str) -> NetworkSelection:
    """`[namespace/]name[@ifname]`."""
    match = _ITEM.fullmatch(item)
    if match is None:
        raise InvalidManifest(
            f"{what}: {item!r} is not [namespace/]name[@interface], each of lower-case letters,"
            " digits and '-'"
        )
    own_namespace, name, ifname = match.groups()
    try:
        requested = None if ifname is None else parse_ifname(ifname)
    except InvalidName as fault:
        raise InvalidManifest(f"{what}: {fault}") from None
    return NetworkSelection(name, own_namespace or namespace, requested)


def _from_json(annotation: str, namespace: str, what: str) -> list[NetworkSelection]:
    try:
        elements = decode_list(annotation.encode(errors="surrogatepass"), what)
    except UndecodableInput as fault:
        raise InvalidManifest(fault.message) from None
    return [
        _from_element(element, namespace, what, f"$[{index}]")
        for index, element in enumerate(elements)
    ]


def _from_element(raw: object, namespace: str, what: str, at: str) -> NetworkSelection:
    given = given_keys(raw, _Element) if isinstance(raw, dict) else raw
    element = structure(given, _Element, InvalidManifest, what, at)
    for index, ip in enumerate(element.ips):
        _refuse_no_address(ip, f"{what} is wrong: {at}.ips[{index}]")
    return NetworkSelection(
        element.name,
        element.namespace or namespace,
        element.ifname or element.deprecated_ifname,
        element.mac,
        element.ips,
        element.infiniband_guid,
        element.cni_args,
        element.gateways,
        element.port_mappings,
        element.bandwidth,
    )


def _refuse_no_address(text: str, what: str) -> None:
    parse = ipaddress.ip_interface if "/" in text else ipaddress.ip_address
    try:
        parse(text)
    except ValueError as fault:
        raise InvalidManifest(f"{what}: {fault}") from None
