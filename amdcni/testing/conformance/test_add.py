"""ADD: what it does in the container, and what it answers (CNI SPEC 1.1 §2 and §5)."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from amdcni.core.spec import Verb
from amdcni.core.versions import INTERFACES_SINCE, SUPPORTED, at_least
from amdcni.testing.conformance.clauses import Level, clause, fail, not_applicable, require
from amdcni.testing.conformance.shapes import faults_of_result
from amdcni.testing.conformance.stage import Container, Stage, changes
from amdcni.testing.readings import dump

_WRONG_VERSION = 1


@clause(
    "§2 ADD",
    Verb.ADD,
    says='ADD creates "the interface defined by CNI_IFNAME" in the container, or adjusts it',
)
def test_add_makes_or_adjusts_the_interface(stage: Stage) -> None:
    container = stage.container()
    container.add().expect_result()
    if not stage.subject.is_ipam:
        names = sorted(container.links())
        require(container.ifname in names, f"in the pod are {', '.join(names)}")


@clause(
    "§5 Success",
    Verb.ADD,
    says='`cniVersion` is "the same version supplied on input", and each has its own keys',
)
def test_the_result_is_as_each_version_has_it(stage: Stage) -> None:
    wrong: list[str] = []
    once = stage.container()
    for version in SUPPORTED:
        if version not in stage.supported:
            continue
        container = once.speaking(version)
        added = container.add()
        if not added.succeeded:
            # The oldest versions cannot tell of an interface without an address, and an IPAM
            # plugin may speak fewer versions than the one that calls it.
            ipam = stage.subject.delegates_ipam and added.error_code == _WRONG_VERSION
            if at_least(version, INTERFACES_SINCE) and not ipam:
                wrong.append(f"in {version} ADD fails: {added}")
            container.delete()
            continue
        result = added.expect_result()
        wrong += (f"in {version}: {fault}" for fault in faults_of_result(result, version))
        container.delete(result).expect_silence()
        container.detach_before()
    fail(wrong)


def _interface(container: Container, result: Mapping[str, Any]) -> dict[str, Any]:
    """The container's interface in a result."""
    wanted = (container.ifname, container.pod.netns)
    for entry in result.get("interfaces", []):
        if (entry.get("name"), entry.get("sandbox")) == wanted:
            return dict(entry)
    require(False, f"no interface is {wanted}: {result.get('interfaces')}")
    raise AssertionError


def _with_interfaces(stage: Stage) -> Container:
    """A container to which a version is spoken in which results have interfaces."""
    stage.needs_an_interface()
    return stage.container().speaking(stage.version_since(INTERFACES_SINCE))


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
    says="The hardware address and the IP addresses are those that the interface has",
)
def test_what_the_result_tells_of_the_interface_is_so(stage: Stage) -> None:
    container = _with_interfaces(stage)
    result = container.attached()
    interface = _interface(container, result)
    link = container.links()[container.ifname]
    if interface.get("mac"):
        told_mac, mac = interface["mac"].lower(), link["address"]
        require(told_mac == mac, f"mac is {told_mac}, and that of {container.ifname} {mac}")
    present = {f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"]}
    index = result["interfaces"].index(interface)
    told = {
        str(ipaddress.ip_interface(ip["address"]))
        for ip in result.get("ips", [])
        if ip.get("interface") == index
    }
    fail([f"{address} is not on {container.ifname}" for address in sorted(told - present)])


@clause(
    "§5 Delegated plugins (IPAM)",
    Verb.ADD,
    says='"it is missing the interfaces array, as well as the interface entry in ips"',
)
def test_the_result_of_an_ipam_plugin_is_abbreviated(stage: Stage) -> None:
    if not stage.subject.is_ipam:
        not_applicable("the plugin is no IPAM plugin")
    container = stage.container().speaking(stage.version_since(INTERFACES_SINCE))
    result = container.attached()
    require(not result.get("interfaces"), f"interfaces is {result.get('interfaces')}")
    pointing = [ip for ip in result.get("ips", []) if "interface" in ip]
    require(not pointing, f"ips point to interfaces: {pointing}")


@clause(
    "§2 ADD, §5 Success",
    Verb.ADD,
    says='A plugin that gets a `prevResult` must output it, "with any possible modifications"',
)
def test_a_previous_result_is_part_of_the_result(stage: Stage) -> None:
    container = _with_interfaces(stage).prepared()
    previous = container.previous or _result_of_loopback(container)
    if container.ifname == "lo":
        previous = {**previous, "interfaces": [{"name": "other0"}], "ips": []}
    outcome = container.call(Verb.ADD, result=previous)
    if not outcome.succeeded:
        container.delete().expect_silence()
        container.attached()
    result = outcome.expect_result()
    names = [interface["name"] for interface in result.get("interfaces", [])]
    lost = [entry["name"] for entry in previous["interfaces"] if entry["name"] not in names]
    require(not lost, f"the result has the interfaces {names}, and lacks {lost}")
    told = [ip["address"] for ip in result.get("ips", [])]
    gone = [ip["address"] for ip in previous["ips"] if ip["address"] not in told]
    require(not gone, f"the result has the addresses {told}, and lacks {gone}")


def _result_of_loopback(container: Container) -> dict[str, Any]:
    """What the plugin `loopback` would have answered before."""
    family = {"version": "4"} if container.version < "1.0.0" else {}
    return {
        "cniVersion": container.version,
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": container.pod.netns}],
        "ips": [{**family, "interface": 0, "address": "127.0.0.1/8"}],
        "routes": [],
        "dns": {},
    }


@clause(
    "§2 ADD",
    Verb.ADD,
    says='"If an interface of the requested name already exists", ADD "MUST return with an error"',
)
def test_an_interface_of_the_name_that_is_there_already_is_an_error(stage: Stage) -> None:
    stage.needs_a_maker()
    container = stage.container()
    container.pod.ip(f"link add {container.ifname} type veth peer name other")
    before = dump(container.pod)
    container.add().expect_error()
    fail(changes(before, dump(container.pod)))


@clause(
    "§2 ADD, §3 Attachment Parameters",
    Verb.ADD,
    Level.SHOULD,
    says='More than one attachment needs "a different interface name" each, and no more than that',
)
def test_a_container_can_be_attached_twice_by_different_interfaces(stage: Stage) -> None:
    if stage.subject.before or stage.subject.ifname == "lo":
        not_applicable("the plugin adjusts the one interface that it is given")
    first = stage.container()
    first.attached()
    second = stage.second_of(first, "net7")
    second.add().expect_result()
    if not stage.subject.is_ipam:
        names = first.links()
        require({first.ifname, second.ifname} <= set(names), f"in the pod are {', '.join(names)}")
    second.delete().expect_silence()
    if not stage.subject.is_ipam:
        require(first.ifname in first.links(), f"the DEL of the second took {first.ifname} away")
