"""Results, and how each CNI version writes them."""

from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.host import IpAddress, IpInterface
from amdcni.core.spec import Dns, Interface, Ip, Result, Route
from amdcni.core.versions import INTERFACES_SINCE, CniVersion, at_least
from amdcni.testing.strategies.addressing import (
    ip_addresses,
    ip_addresses_in,
    ip_interfaces,
    ipv4_interfaces,
    ipv6_interfaces,
)
from amdcni.testing.strategies.names import (
    ifnames,
    macs,
    netns_paths,
    paths,
    pci_addresses,
    versions,
)
from amdcni.testing.strategies.values import words

dnses: SearchStrategy[Dns] = st.builds(
    Dns,
    nameservers=st.lists(ip_addresses.map(str), max_size=2).map(tuple),
    domain=st.none() | words,
    search=st.lists(words, max_size=2).map(tuple),
    options=st.lists(words, max_size=2).map(tuple),
).filter(lambda dns: dns != Dns())
"""Resolver settings that are not empty."""

_positive = st.integers(1, 2**31 - 1)

interfaces: SearchStrategy[Interface] = st.builds(
    Interface,
    name=ifnames,
    mac=st.none() | macs,
    mtu=st.none() | _positive,
    sandbox=st.none() | netns_paths,
    socket_path=st.none() | paths,
    pci_id=st.none() | pci_addresses.map(str),
)
"""Netdevs of a result."""

routes: SearchStrategy[Route] = st.builds(
    Route,
    dst=ip_interfaces,
    gw=st.none() | ip_addresses,
    mtu=st.none() | _positive,
    advmss=st.none() | _positive,
    priority=st.none() | st.integers(0, 2**31 - 1),
    table=st.none() | st.integers(0, 2**31 - 1),
    scope=st.none() | st.integers(0, 255),
)
"""Routes of a result."""


def _result(
    there: list[Interface],
    ips: list[tuple[IpInterface, IpAddress | None, int]],
    routes: list[Route],
    dns: Dns | None,
) -> Result:
    indexes = [*range(len(there)), None]
    pointing = [Ip(ip, gateway, indexes[at % len(indexes)]) for ip, gateway, at in ips]
    return Result(tuple(there), tuple(pointing), tuple(routes), dns)


results: SearchStrategy[Result] = st.builds(
    _result,
    st.lists(interfaces, max_size=2),
    st.lists(st.tuples(ip_interfaces, st.none() | ip_addresses, st.integers(0, 2)), max_size=3),
    st.lists(routes, max_size=2),
    st.none() | dnses,
)
"""Results with everything that the newest version can express."""


def results_in(version: CniVersion) -> SearchStrategy[Result]:
    """Results that `version` can express without loss (CNI SPEC 0.1.0 to 1.1.0, "Result")."""
    if at_least(version, CniVersion("1.1.0")):
        return results
    return results.map(
        _without_news if at_least(version, INTERFACES_SINCE) else _one_address_a_family
    )


def _without_news(result: Result) -> Result:
    """The result without what exists only since 1.1.0."""
    return attrs.evolve(
        result,
        interfaces=tuple(
            Interface(there.name, there.mac, sandbox=there.sandbox) for there in result.interfaces
        ),
        routes=tuple(Route(route.dst, route.gw) for route in result.routes),
    )


def _one_address_a_family(result: Result) -> Result:
    first = {ip.address.version: ip for ip in reversed(result.ips)}
    families = [first[family] for family in (4, 6) if family in first]
    routes = (
        Route(route.dst, route.gw)
        for ip in families
        for route in result.routes
        if route.dst.version == ip.address.version
    )
    ips = tuple(Ip(ip.address, ip.gateway) for ip in families)
    return Result((), ips, tuple(routes), result.dns)


_plain_interfaces = st.builds(Interface, ifnames, macs, sandbox=netns_paths)
_plain_ips = st.tuples(
    st.none() | st.builds(Ip, ipv4_interfaces, st.none() | ip_addresses_in(4)),
    st.none() | st.builds(Ip, ipv6_interfaces, st.none() | ip_addresses_in(6)),
)


@st.composite
def _plain_results(draw: DrawFn, version: CniVersion) -> Result:
    ips = tuple(ip for ip in draw(_plain_ips) if ip is not None)
    if not at_least(version, INTERFACES_SINCE):
        return Result((), ips)
    return Result((draw(_plain_interfaces),), tuple(attrs.evolve(ip, interface=0) for ip in ips))


def plain_results_in(version: CniVersion) -> SearchStrategy[Result]:
    """Small results of `version` that all newer ones, and all since 0.3.0, can express too."""
    return _plain_results(version)


def result_members(result: Result, version: CniVersion) -> dict[str, Any]:
    """A result as a JSON object of `version`, with what that can express of it."""
    said: dict[str, Any] = {"cniVersion": version}
    if not at_least(version, INTERFACES_SINCE):
        said |= _family_members(result)
    else:
        said["interfaces"] = [_interface_members(each, version) for each in result.interfaces]
        said["ips"] = [_ip_members(each, version) for each in result.ips]
        said["routes"] = [_route_members(each, version) for each in result.routes]
    if result.dns is not None:
        dns = result.dns
        said["dns"] = _given(
            nameservers=list(dns.nameservers),
            domain=dns.domain,
            search=list(dns.search),
            options=list(dns.options),
        )
    return _given(**said)


def _given(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value not in (None, [])}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _family_members(result: Result) -> dict[str, Any]:
    """The addressing of each family as 0.1.0 and 0.2.0 write it: the first address counts."""
    said: dict[str, Any] = {}
    for ip in result.ips:
        family = ip.address.version
        routes = [r for r in result.routes if r.dst.version == family]
        said.setdefault(
            f"ip{family}",
            _given(
                ip=str(ip.address),
                gateway=_text(ip.gateway),
                routes=[_given(dst=str(route.dst), gw=_text(route.gw)) for route in routes],
            ),
        )
    return said


def _interface_members(there: Interface, version: CniVersion) -> dict[str, Any]:
    said = _given(name=there.name, mac=there.mac, sandbox=there.sandbox)
    if at_least(version, CniVersion("1.1.0")):
        said |= _given(mtu=there.mtu, socketPath=there.socket_path, pciID=there.pci_id)
    return said


def _ip_members(ip: Ip, version: CniVersion) -> dict[str, Any]:
    said = _given(address=str(ip.address), gateway=_text(ip.gateway), interface=ip.interface)
    if not at_least(version, CniVersion("1.0.0")):
        said["version"] = str(ip.address.version)
    return said


def _route_members(route: Route, version: CniVersion) -> dict[str, Any]:
    said = _given(dst=str(route.dst), gw=_text(route.gw))
    if at_least(version, CniVersion("1.1.0")):
        news = ("mtu", "advmss", "priority", "table", "scope")
        said |= _given(**{key: getattr(route, key) for key in news})
    return said


def result_objects_in(version: CniVersion) -> SearchStrategy[dict[str, Any]]:
    """Results as JSON objects of `version`, as a plugin prints them."""
    return results_in(version).map(lambda result: result_members(result, version))


result_objects: SearchStrategy[dict[str, Any]] = versions.flatmap(result_objects_in)
"""Results as JSON objects, of every version."""
