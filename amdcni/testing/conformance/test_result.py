"""The result of ADD: its shape in each version, and whether what it says is true (SPEC 1.1 §5)."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from amdcni.core.spec import Verb
from amdcni.core.versions import INTERFACES_SINCE, CniVersion, at_least
from amdcni.testing.cni import Outcome
from amdcni.testing.conformance.clauses import clause, not_applicable, require, require_none
from amdcni.testing.conformance.delegates import Recorder
from amdcni.testing.conformance.shapes import entries_of, faults_of_result
from amdcni.testing.conformance.stage import Container, Stage
from amdcni.testing.conformance.views import addresses_on, links_in, missing_among, routes_in

_WRONG_VERSION = 1


@clause(
    "§5 Success",
    Verb.ADD,
    says='`cniVersion` is "the same version supplied on input", and each has its own keys',
)
def test_the_result_is_as_each_version_has_it(stage: Stage, recorder: Recorder) -> None:
    # The IPAM plugin of the configuration may speak fewer versions than the plugin.
    once = recorder.serving(stage.container())
    wrong: list[str] = []
    has_addresses = False
    for version in reversed(stage.spoken):
        container = once.speaking(version)
        added, result = container.add(), None
        if added.succeeded:
            result = added.expect_result()
            has_addresses = has_addresses or bool(entries_of(result, "ips"))
            wrong += (f"in {version}: {fault}" for fault in faults_of_result(result, version))
        elif has_addresses or not _is_forgiven(version, added):
            wrong.append(f"in {version} ADD fails: {added}")
        deleted = container.delete(result)
        if result and not deleted.succeeded:
            require_none(wrong)
            not_applicable(f"it needs a DEL that works, and this one does not: {deleted}")
        container.detach_before()
    require_none(wrong)


def _is_forgiven(version: CniVersion, failed: Outcome) -> bool:
    """Whether the ADD of an interface without addresses may fail.

    In the oldest versions a result has nothing but addresses, so a plugin that speaks them may
    still refuse this; but it cannot claim not to speak the version.
    """
    return not at_least(version, INTERFACES_SINCE) and failed.error_code != _WRONG_VERSION


def _with_interfaces(stage: Stage) -> Container:
    """A container that is called in a version in which results have interfaces."""
    stage.needs_an_interface()
    return stage.container().speaking(stage.version_since(INTERFACES_SINCE))


def _interface(container: Container, result: Mapping[str, Any]) -> dict[str, Any]:
    """The container's interface in a result."""
    wanted = (container.ifname, container.pod.netns)
    listed = entries_of(result, "interfaces")
    ours = [one for one in listed if (one.get("name"), one.get("sandbox")) == wanted]
    require(ours, f"no interface is {wanted}: {result.get('interfaces')}")
    return ours[0]


@clause(
    "§5 Success",
    Verb.ADD,
    says='"For interfaces created inside the container" `sandbox` is the value of CNI_NETNS',
)
def test_the_result_tells_the_interface_and_its_sandbox(stage: Stage) -> None:
    container = _with_interfaces(stage)
    _interface(container, container.attached())


@clause(
    "§5 Success",
    Verb.ADD,
    says='`mac` is "the hardware address of the interface", and `mtu` its MTU',
)
def test_what_the_result_tells_of_the_interface_is_so(stage: Stage) -> None:
    container = _with_interfaces(stage)
    interface = _interface(container, container.attached())
    require_none(_faults_of(interface, container.links()))


def _faults_of(listed: Mapping[str, Any], links: Mapping[str, Any]) -> Iterator[str]:
    """What a result says of an interface, and is not true of these netdevs."""
    name, mac, mtu = listed.get("name"), listed.get("mac"), listed.get("mtu")
    link = links.get(str(name))
    if link is None:
        yield f"{name} is not there"
        return
    if mac and str(mac).lower() != link["address"]:
        yield f"mac is {mac}, but that of {name} is {link['address']}"
    if mtu and mtu != link["mtu"]:
        yield f"mtu is {mtu}, but that of {name} is {link['mtu']}"


@clause(
    "§5 Success",
    Verb.ADD,
    says='`interfaces` are those "created by the attachment, including any host-level interfaces"',
)
def test_the_interfaces_on_the_host_that_the_result_tells_are_there(stage: Stage) -> None:
    container = _with_interfaces(stage)
    listed = entries_of(container.attached(), "interfaces")
    on_host = [interface for interface in listed if not interface.get("sandbox")]
    if not on_host:
        not_applicable("the result has no interface on the host")
    links = links_in(stage.node)
    require_none(fault for interface in on_host for fault in _faults_of(interface, links))


@clause(
    "§5 Success",
    Verb.ADD,
    says='`interface` says "which interface this IP configuration should be applied to"',
)
def test_an_address_is_on_the_interface_that_it_points_to(stage: Stage) -> None:
    container = _with_interfaces(stage)
    result = container.attached()
    interfaces = entries_of(result, "interfaces")
    pointing = [ip for ip in entries_of(result, "ips") if ip.get("interface") is not None]
    if not pointing:
        not_applicable("no address of the result points to an interface")
    links_at = {container.pod.netns: container.links(), "": links_in(stage.node)}
    for ip in pointing:
        require(ip["interface"] < len(interfaces), f"there is no interface {ip['interface']}")
        interface = interfaces[ip["interface"]]
        # Only the plugin can look into a sandbox that is none of these.
        links = links_at.get(interface.get("sandbox", ""))
        if links is not None:
            present = addresses_on(links.get(interface.get("name"), {}))
            address, name = str(ipaddress.ip_interface(ip["address"])), interface.get("name")
            require(address in present, f"{address} is not on {name}")


@clause("§5 Success", Verb.ADD, says='`routes` are "created by this attachment"')
def test_the_routes_that_the_result_tells_are_there(stage: Stage) -> None:
    container = _with_interfaces(stage)
    listed = entries_of(container.attached(), "routes")
    if not listed:
        not_applicable("the result has no route")
    present = [*routes_in(container.pod), *routes_in(stage.node)]
    require_none(missing_among(present, listed))


@clause(
    "§2 ADD, §5 Success",
    Verb.ADD,
    says='A plugin that gets a `prevResult` must output it, "with any possible modifications"',
)
def test_a_previous_result_is_part_of_the_result(stage: Stage) -> None:
    container = _with_interfaces(stage).prepared()
    container.pod.ip("route add unreachable 203.0.113.0/24")
    previous = container.previous or _result_of_loopback(container)
    if container.ifname == "lo":
        previous = {**previous, "interfaces": [{"name": "other0"}], "ips": []}
    previous = {
        **previous,
        "routes": [*entries_of(previous, "routes"), {"dst": "203.0.113.0/24"}],
        "dns": {**previous.get("dns", {}), "nameservers": ["192.0.2.53"]},
    }
    outcome = container.call(Verb.ADD, result=previous)
    if not outcome.succeeded:
        container.delete()
        container.attached()
    result = outcome.expect_result()
    require_none(
        f"{key} lacks {', '.join(sorted(lost))}"
        for key, name in (("interfaces", "name"), ("ips", "address"), ("routes", "dst"))
        if (lost := _named(previous, key, name) - _named(result, key, name))
    )
    # Other nameservers would be a modification.
    dns = result.get("dns") or {}
    require(dns.get("nameservers"), f"the nameservers are lost: dns is {dns}")


def _named(result: Mapping[str, Any], key: str, name: str) -> set[str]:
    return {str(entry.get(name)) for entry in entries_of(result, key)}


def _result_of_loopback(container: Container) -> dict[str, Any]:
    """What the plugin `loopback` would have answered before."""
    family = {"version": "4"} if container.version < "1.0.0" else {}
    return {
        "cniVersion": container.version,
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": container.pod.netns}],
        "ips": [{**family, "interface": 0, "address": "127.0.0.1/8"}],
    }
