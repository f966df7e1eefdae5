"""Results, errors and versions as plugins and runtimes write them, in every CNI version."""

from collections.abc import Iterable
from typing import Any

import attrs

from amdcni.core.codec.converter import spell, structure, unstructure, wrong
from amdcni.core.codec.text import shown
from amdcni.core.errors import AmdcniError, UndecodableInput
from amdcni.core.host import IpAddress, IpInterface
from amdcni.core.spec import (
    Dns,
    ErrorObject,
    Interface,
    Ip,
    Json,
    PluginInfo,
    Result,
    Route,
)
from amdcni.core.versions import INTERFACES_SINCE, CniVersion, at_least, parse_version

spell(Interface, socket_path="socketPath", pci_id="pciID")
spell(ErrorObject, version="cniVersion")
spell(PluginInfo, version="cniVersion", supported="supportedVersions")


@attrs.frozen
class _OldIp:
    """The addressing of one family in a result of 0.1.0 and 0.2.0."""

    ip: IpInterface
    gateway: IpAddress | None = None
    routes: tuple[Route, ...] = ()


@attrs.frozen
class _OldResult:
    """A result of 0.1.0 and 0.2.0."""

    ip4: _OldIp | None = None
    ip6: _OldIp | None = None
    dns: Dns | None = None

    @classmethod
    def of(cls, result: Result) -> "_OldResult":
        """What such a result can say of `result`."""
        return cls(_first_of(result, 4), _first_of(result, 6), result.dns)

    def modern(self) -> Result:
        families = [family for family in (self.ip4, self.ip6) if family is not None]
        return Result(
            ips=tuple(Ip(family.ip, family.gateway) for family in families),
            routes=tuple(route for family in families for route in family.routes),
            dns=self.dns,
        )


def _first_of(result: Result, version: int) -> _OldIp | None:
    """The first address of a family, with the routes of that family."""
    ip = next((ip for ip in result.ips if ip.address.version == version), None)
    if ip is None:
        return None
    routes = (Route(each.dst, each.gw) for each in result.routes if each.dst.version == version)
    return _OldIp(ip.address, ip.gateway, tuple(routes))


def result_from_json(
    raw: Json,
    failure: type[AmdcniError] = UndecodableInput,
    what: str = "the result",
    at: str = "$",
) -> Result:
    """The result that `raw` spells in its own cniVersion, as runtimes read it.

    `what` and `at` are for messages, as those of `structure`.

    Raises: `failure` for wrong types and values, UnsupportedVersion.
    """
    said = raw.get("cniVersion")
    if not isinstance(said, str | None):
        raise failure(wrong(what, [f"{at}.cniVersion is {shown(said)}, not a string"]))
    plain = _without_empty(raw)
    if at_least(parse_version(said or ""), INTERFACES_SINCE):
        return structure(plain, Result, failure, what, at)
    return structure(plain, _OldResult, failure, what, at).modern()


def result_to_json(result: Result, version: CniVersion) -> dict[str, Any]:
    """`result` as JSON of `version`, holding only the fields that this version has.

    0.1.0 and 0.2.0 have one address per family: the first, with the routes of that family.
    """
    if not at_least(version, INTERFACES_SINCE):
        return {"cniVersion": version, **unstructure(_OldResult.of(result))}
    plain = unstructure(result)
    if not at_least(version, CniVersion("1.1.0")):
        _drop(plain.get("interfaces", ()), "mtu", "socketPath", "pciID")
        _drop(plain.get("routes", ()), "mtu", "advmss", "priority", "table", "scope")
    if not at_least(version, CniVersion("1.0.0")):
        for ip in plain.get("ips", ()):
            ip["version"] = "6" if ":" in ip["address"] else "4"
    return {"cniVersion": version, **plain}


def _drop(objects: Iterable[dict[str, Any]], *keys: str) -> None:
    for written in objects:
        for key in keys:
            written.pop(key, None)


def _without_empty(value: Any) -> Any:
    """`value` without members that say nothing: Go's encoder writes some of them, but not all."""
    if isinstance(value, dict):
        members = {key: _without_empty(member) for key, member in value.items()}
        return {key: member for key, member in members.items() if member not in (None, "", [], {})}
    if isinstance(value, list):
        return [_without_empty(member) for member in value]
    return value


def error_to_json(error: ErrorObject) -> dict[str, Any]:
    """The CNI error object: cniVersion, code, msg, and details if there are any."""
    return unstructure(error)


def parse_error(raw: Json) -> ErrorObject | None:
    """`raw` as a CNI error object; None if it is not one."""
    code, msg = raw.get("code"), raw.get("msg")
    if type(code) is not int or code == 0 or not isinstance(msg, str):
        return None
    details = raw.get("details")
    version = CniVersion(str(raw.get("cniVersion", "")))
    return ErrorObject(version, code, msg, details if isinstance(details, str) else "")


def parse_plugin_info(raw: Json) -> PluginInfo:
    """A plugin's answer to VERSION; raises UndecodableInput."""
    return structure(raw, PluginInfo, UndecodableInput, "the answer to VERSION")
