"""What answers have to look like in each version (CNI SPEC 1.1 §5 and its predecessors).

This is written from the text alone, and shares nothing with the codec that amdcni itself uses.
"""

import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

_SEMVER = re.compile(r"\d+\.\d+\.\d+")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5,31}")

RESERVED_CODES = {1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51}
"""The codes below 100 that have a meaning; 8 (no valid netns) is one of the reference library."""


def is_version(value: object) -> bool:
    """Return whether a JSON value is a version, three numbers with dots."""
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
    """Say what is wrong with a result for a caller that asked in `version`.

    Keys that the version does not know are not forbidden, and may be anything.
    """
    if result.get("cniVersion") != version:
        yield f"cniVersion is {result.get('cniVersion')!r}, not {version!r}, as was asked"
    if _before(version, "0.3.0"):
        yield from _faults_of_families(result)
    else:
        count = len(entries_of(result, "interfaces"))
        for key, faults_of in (
            ("interfaces", _faults_of_interface),
            ("ips", functools.partial(_faults_of_ip, interfaces=count)),
            ("routes", _faults_of_route),
        ):
            yield from _faults_of_list(key, result, version, faults_of)
    yield from _faults_of_dns(result.get("dns", {}))


def entries_of(result: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects in a list of a result, without anything else in it."""
    entries = result.get(key)
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []


def _before(version: str, other: str) -> bool:
    return tuple(map(int, version.split("."))) < tuple(map(int, other.split(".")))


def _faults_of_list(
    key: str,
    owner: Mapping[str, Any],
    version: str,
    faults_of: Callable[[Mapping[str, Any], str], Iterator[str]],
) -> Iterator[str]:
    entries = owner.get(key, [])
    # The reference library writes an absent list as null in the older versions.
    if entries is None and _before(version, "1.0.0"):
        return
    if not isinstance(entries, list):
        yield f"{key} is {entries!r}, not a list"
        return
    for index, entry in enumerate(entries):
        where = f"{key}[{index}]"
        if not isinstance(entry, dict):
            yield f"{where} is {entry!r}, not an object"
        else:
            yield from (f"{where}: {fault}" for fault in faults_of(entry, version))


def _faults_of_families(result: Mapping[str, Any]) -> Iterator[str]:
    for key in ("ip4", "ip6"):
        ip = result.get(key)
        if ip is None:
            continue
        if not isinstance(ip, dict):
            yield f"{key} is {ip!r}, not an object"
            continue
        faults = [
            *_faults_of_address(ip.get("ip"), "ip"),
            *_faults_of_gateway(ip.get("gateway"), ip.get("ip")),
            *_faults_of_list("routes", ip, "0.2.0", _faults_of_route),
        ]
        yield from (f"{key}: {fault}" for fault in faults)
    if result.get("ips") and not (result.get("ip4") or result.get("ip6")):
        yield "the addresses are in ips, a key of newer versions"


def _faults_of_interface(interface: Mapping[str, Any], version: str) -> Iterator[str]:
    name = interface.get("name")
    if not isinstance(name, str) or not name:
        yield f"name is {name!r}, not a name"
    mac = interface.get("mac", "")
    if not isinstance(mac, str) or (mac and _MAC.fullmatch(mac) is None):
        yield f"mac is {mac!r}, not a hardware address"
    since_1_1 = () if _before(version, "1.1.0") else ("socketPath", "pciID")
    yield from _faults_of_texts(interface, "sandbox", *since_1_1)
    if since_1_1:
        yield from _faults_of_numbers(interface, "mtu")


def _faults_of_ip(ip: Mapping[str, Any], version: str, interfaces: int) -> Iterator[str]:
    yield from _faults_of_address(ip.get("address"), "address")
    yield from _faults_of_gateway(ip.get("gateway"), ip.get("address"))
    index = ip.get("interface")
    if index is not None and not (_is_number(index) and index < interfaces):
        yield f"interface is {index!r}, but there are {interfaces} interfaces"
    if _before(version, "1.0.0") and ip.get("version") not in ("4", "6"):
        yield f"version is {ip.get('version')!r}, not '4' or '6'"


def _faults_of_address(address: object, key: str) -> Iterator[str]:
    try:
        if not isinstance(address, str) or "/" not in address:
            raise ValueError
        ipaddress.ip_interface(address)
    except ValueError:
        yield f"{key} is {address!r}, not an address with a prefix length"


def _faults_of_gateway(gateway: object, address: object = None) -> Iterator[str]:
    if gateway in (None, ""):
        return
    if not _is_address(gateway):
        yield f"gateway is {gateway!r}, not an address"
    elif isinstance(address, str) and (":" in address) != (":" in str(gateway)):
        yield f"gateway is {gateway!r}, of another family than {address!r}"


def _faults_of_route(route: Mapping[str, Any], version: str) -> Iterator[str]:
    dst = route.get("dst")
    try:
        if not isinstance(dst, str) or "/" not in dst:
            raise ValueError
        ipaddress.ip_network(dst)
    except ValueError:
        yield f"dst is {dst!r}, not a network"
    yield from (fault.replace("gateway", "gw") for fault in _faults_of_gateway(route.get("gw")))
    if not _before(version, "1.1.0"):
        yield from _faults_of_numbers(route, "mtu", "advmss", "priority", "table", "scope")


def _faults_of_dns(dns: object) -> Iterator[str]:
    if not isinstance(dns, dict):
        yield f"dns is {dns!r}, not an object"
        return
    for key in ("nameservers", "search", "options"):
        entries = dns.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            yield f"dns.{key} is {entries!r}, not a list of strings"
    if not isinstance(dns.get("domain", ""), str):
        yield f"dns.domain is {dns['domain']!r}, not a string"


def _faults_of_texts(owner: Mapping[str, Any], *keys: str) -> Iterator[str]:
    for key in keys:
        if not isinstance(owner.get(key, ""), str):
            yield f"{key} is {owner[key]!r}, not a string"


def _faults_of_numbers(owner: Mapping[str, Any], *keys: str) -> Iterator[str]:
    for key in keys:
        if not _is_number(owner.get(key, 0)):
            yield f"{key} is {owner[key]!r}, not a number of at least 0"


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_address(value: object) -> bool:
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return True
