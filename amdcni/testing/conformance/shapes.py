"""What answers have to look like in each version (CNI SPEC 1.1 §5 and its forerunners).

This is written from the text alone, and shares nothing with the codec that amdcni itself uses.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SEMVER = re.compile(r"\d+\.\d+\.\d+")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5,31}")

RESERVED_CODES = {1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51}
"""The codes below 100 that have a meaning; 8 (no valid netns) is one of the reference library."""


def is_version(value: object) -> bool:
    """Tell whether a JSON value is a version, three numbers with dots."""
    return isinstance(value, str) and _SEMVER.fullmatch(value) is not None


def faults_of_versions(answer: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with an answer to VERSION."""
    if not is_version(answer.get("cniVersion")):
        yield f"cniVersion is {answer.get('cniVersion')!r}, not a version"
    supported = answer.get("supportedVersions")
    if not isinstance(supported, list) or not supported:
        yield f"supportedVersions is {supported!r}, not a list of versions"
    elif unlike := [version for version in supported if not is_version(version)]:
        yield f"supportedVersions has {unlike[0]!r}, which is not a version"


def faults_of_result(result: Mapping[str, Any], version: str) -> Iterator[str]:
    """Say what is wrong with a result for one that asked in `version`."""
    if result.get("cniVersion") != version:
        yield f"cniVersion is {result.get('cniVersion')!r}, not {version!r}, which was asked in"
    if _before(version, "0.3.0"):
        yield from _faults_of_families(result)
        return
    interfaces = result.get("interfaces", [])
    yield from _faults_of_list("interfaces", interfaces, _faults_of_interface)
    count = len(interfaces) if isinstance(interfaces, list) else 0
    yield from _faults_of_list(
        "ips", result.get("ips", []), lambda ip: _faults_of_ip(ip, version, count)
    )
    yield from _faults_of_list("routes", result.get("routes", []), _faults_of_route)
    yield from _faults_of_dns(result.get("dns", {}))


def _before(version: str, other: str) -> bool:
    return tuple(map(int, version.split("."))) < tuple(map(int, other.split(".")))


def _faults_of_list(name: str, entries: Any, faults_of: Any) -> Iterator[str]:
    # The reference library writes an absent list as null in the oldest versions.
    if entries is None:
        return
    if not isinstance(entries, list):
        yield f"{name} is {entries!r}, not a list"
        return
    for index, entry in enumerate(entries):
        where = f"{name}[{index}]"
        if not isinstance(entry, dict):
            yield f"{where} is {entry!r}, not an object"
        else:
            yield from (f"{where}: {fault}" for fault in faults_of(entry))


def _faults_of_families(result: Mapping[str, Any]) -> Iterator[str]:
    for family in (4, 6):
        ip = result.get(f"ip{family}")
        if ip is None:
            continue
        if not isinstance(ip, dict):
            yield f"ip{family} is {ip!r}, not an object"
            continue
        yield from (f"ip{family}: {fault}" for fault in _faults_of_address(ip.get("ip"), "ip"))
        yield from _faults_of_gateway(ip.get("gateway"))
        yield from _faults_of_list(f"ip{family}.routes", ip.get("routes", []), _faults_of_route)
    yield from _faults_of_dns(result.get("dns", {}))
    for key in ("interfaces", "ips"):
        if key in result:
            yield f"{key} is of newer versions"


def _faults_of_interface(interface: Mapping[str, Any]) -> Iterator[str]:
    name = interface.get("name")
    if not isinstance(name, str) or not name:
        yield f"name is {name!r}, not a name"
    mac = interface.get("mac", "")
    if not isinstance(mac, str) or (mac and _MAC.fullmatch(mac) is None):
        yield f"mac is {mac!r}, not a hardware address"
    if not isinstance(interface.get("sandbox", ""), str):
        yield f"sandbox is {interface['sandbox']!r}, not a text"


def _faults_of_ip(ip: Mapping[str, Any], version: str, interfaces: int) -> Iterator[str]:
    yield from _faults_of_address(ip.get("address"), "address")
    yield from _faults_of_gateway(ip.get("gateway"))
    index = ip.get("interface")
    if index is not None and (not isinstance(index, int) or not 0 <= index < interfaces):
        yield f"interface is {index!r}, and there are {interfaces} interfaces"
    if _before(version, "1.0.0") and ip.get("version") not in ("4", "6"):
        yield f"version is {ip.get('version')!r}, not '4' or '6'"
    if not _before(version, "1.0.0") and "version" in ip:
        yield "version is of older versions"


def _faults_of_address(address: object, key: str) -> Iterator[str]:
    try:
        if not isinstance(address, str) or "/" not in address:
            raise ValueError
        ipaddress.ip_interface(address)
    except ValueError:
        yield f"{key} is {address!r}, not an address with a prefix length"


def _faults_of_gateway(gateway: object) -> Iterator[str]:
    try:
        if gateway not in (None, ""):
            ipaddress.ip_address(str(gateway))
    except ValueError:
        yield f"gateway is {gateway!r}, not an address"


def _faults_of_route(route: Mapping[str, Any]) -> Iterator[str]:
    try:
        ipaddress.ip_interface(str(route.get("dst")))
    except ValueError:
        yield f"dst is {route.get('dst')!r}, not a network"
    yield from (fault.replace("gateway", "gw") for fault in _faults_of_gateway(route.get("gw")))


def _faults_of_dns(dns: object) -> Iterator[str]:
    if not isinstance(dns, dict):
        yield f"dns is {dns!r}, not an object"
        return
    for key in ("nameservers", "search", "options"):
        entries = dns.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            yield f"dns.{key} is {entries!r}, not a list of texts"
    if not isinstance(dns.get("domain", ""), str):
        yield f"dns.domain is {dns['domain']!r}, not a text"
