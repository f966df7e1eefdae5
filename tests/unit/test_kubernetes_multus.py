"""What Multus makes of a pod: its networks, the calls as real runtimes sent them, the status."""

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import libcni
from amdcni.core.codec import decode_object, encode, parse_plugin_list, result_from_json
from amdcni.core.errors import InvalidManifest
from amdcni.core.kubernetes import (
    Allocation,
    Delegate,
    NetworkAttachmentDefinition,
    NetworkStatus,
    ObjectName,
    Pod,
    Sandbox,
    add,
    allocation_from_checkpoint,
    calls_to_add,
    delegates_of,
    delete,
    parse_definition,
    parse_pod,
    status_annotation,
    statuses_of,
    to_go_json,
)
from amdcni.core.libcni import Conversation, Wanted
from amdcni.core.names import ContainerId, parse_ifname
from amdcni.core.spec import AttachmentId, Dns, Interface, Ip, PluginCall, PluginList, Result
from amdcni.testing import strategies as some
from amdcni.testing.strategies import PodFlow
from tests.unit.test_kubernetes import NIC, RESOURCE_NAME, A, B, checkpoint_of, entry, pod_manifest

DATA = Path(__file__).parent / "data/runtime-inputs"

# ---- which networks


@given(some.pod_flows)
def test_networks_come_in_the_order_of_the_annotation(flow: PodFlow) -> None:
    delegates = delegates_of(flow.pod, flow.definitions, flow.allocation)
    assert tuple(delegate.selection for delegate in delegates) == flow.pod.networks
    for position, delegate in enumerate(delegates, start=1):
        assert delegate.ifname == (delegate.selection.ifname or f"net{position}")
        assert str(delegate.definition.id) == str(delegate.selection)


@given(some.pod_flows)
def test_each_network_takes_the_next_device_of_its_resource(flow: PodFlow) -> None:
    delegates = delegates_of(flow.pod, flow.definitions, flow.allocation)
    for resource, devices in flow.allocation.items():
        taken = [d.device for d in delegates if d.definition.resource == resource]
        assert taken == list(devices[: len(taken)])
    assert all((d.device is None) == (d.definition.resource is None) for d in delegates)


@given(some.pod_flows)
def test_multus_adds_the_device_and_the_arguments_to_each_plugin_and_nothing_else(
    flow: PodFlow,
) -> None:
    for delegate in delegates_of(flow.pod, flow.definitions, flow.allocation):
        config = delegate.definition.config
        written = config["plugins"] if delegate.definition.is_list else [config]
        asked = delegate.selection.cni_args
        for before, after in zip(written, delegate.network.plugins, strict=True):
            device = {key: after.get(key) for key in ("deviceID", "pciBusID")}
            assert set(device.values()) == {delegate.device}
            assert after.keys() - before.keys() <= {"deviceID", "pciBusID", "args"}
            own = before.get("args", {}).get("cni", {})
            assert (after.get("args") or {}).get("cni", {}) == {**own, **(asked or {})}
            same = before.keys() - {"args"}
            assert {key: after[key] for key in same} == {key: before[key] for key in same}


@given(some.pod_flows)
def test_the_documented_configuration_is_the_definitions_with_the_device(
    flow: PodFlow,
) -> None:
    for delegate in delegates_of(flow.pod, flow.definitions, flow.allocation):
        config = dict(delegate.configuration)
        entries = config.pop("plugins", None) or [config]
        devices = {entry.pop("deviceID", None) for entry in entries}
        assert devices == {delegate.device}
        written = dict(delegate.definition.config)
        assert (written.pop("plugins", None) or [written]) == entries


@given(some.pod_flows, st.data())
def test_one_device_too_few_is_reported_with_pod_definition_and_resource(
    flow: PodFlow, data: st.DataObject
) -> None:
    wanted = [resource for resource, devices in flow.allocation.items() if devices]
    if not wanted or not flow.pod.networks:
        return
    resource = data.draw(st.sampled_from(wanted))
    fewer = {**flow.allocation, resource: flow.allocation[resource][1:]}
    with pytest.raises(InvalidManifest) as refusal:
        delegates_of(flow.pod, flow.definitions, fewer)
    for words in (str(flow.pod), "NetworkAttachmentDefinition ", resource, "are allocated to it"):
        assert words in refusal.value.message


def definition(**config: Any) -> NetworkAttachmentDefinition:
    manifest = {
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "fabric", "annotations": {RESOURCE_NAME: NIC}},
        "spec": {"config": json.dumps({"type": "amd-host-device", **config})},
    }
    return parse_definition(manifest)


@pytest.mark.parametrize(
    ("networks", "definitions", "allocation", "words"),
    [
        ("other", [definition()], {}, "default/other, which is not there; there is default/fabric"),
        (
            "other",
            [definition(), attrs.evolve(definition(), id=ObjectName("a", "b"))],
            {},
            "which is not there; there is a/b, default/fabric",
        ),
        ("other", [], {}, "default/other, which is not there; there is none"),
        ("fabric", [definition()] * 2, {}, "NetworkAttachmentDefinition default/fabric is given t"),
        ("fabric", [definition()], {}, "than it has devices of amd.com/nic: 0 are allocated"),
        ("fabric,fabric", [definition()], {NIC: (A,)}, "of amd.com/nic: 1 are allocated"),
        (
            "fabric",
            [definition()],
            {NIC: (A, A)},
            f"the device {A} is allocated to pod default/wor",
        ),
        ("fabric", [definition()], {NIC: (A,), "x/y": (A,)}, f"the device {A} is allocated"),
        ("fabric", [definition()], {NIC: (B, A, A, B)}, f"the device {A}, {B} is allocated"),
        ("fabric@a,fabric@a", [definition()], {NIC: (A, B)}, "the name 'a' to two interfaces"),
        ("fabric,fabric@net1", [definition()], {NIC: (A, B)}, "the name 'net1' to two"),
        (
            "fabric",
            [definition(cniVersion="9")],
            {NIC: (A,)},
            "fabric: spec.config: cniVersion '9'",
        ),
        ("fabric", [definition(cniVersion=9)], {NIC: (A,)}, "spec.config is wrong: $.cniVersion"),
        ("fabric", [definition(name="a b")], {NIC: (A,)}, "spec.config is wrong: $.name: 'a b'"),
    ],
)
def test_what_multus_could_not_do_is_reported(
    networks: str,
    definitions: list[NetworkAttachmentDefinition],
    allocation: Allocation,
    words: str,
) -> None:
    with pytest.raises(InvalidManifest) as refusal:
        delegates_of(parse_pod(pod_manifest(networks)), definitions, allocation)
    assert words in refusal.value.message


@pytest.mark.parametrize("args", [1, {"cni": 1}])
def test_arguments_that_cannot_be_added_are_reported(args: object) -> None:
    pod = parse_pod(pod_manifest('[{"name": "fabric", "cni-args": {"a": 1}}]'))
    with pytest.raises(InvalidManifest, match=r"spec\.config: args\.cni is not an object"):
        delegates_of(pod, [definition(args=args)], {NIC: (A,)})


@pytest.mark.parametrize("listed", [True, False])
def test_only_a_list_may_switch_check_off_and_offer_versions(listed: bool) -> None:
    keys = {"disableCheck": True, "cniVersions": ["1.0.0", "1.1.0"]}
    if listed:
        keys |= {"type": None, "plugins": [TYPE]}
    pod = parse_pod(pod_manifest("fabric"))
    (delegate,) = delegates_of(pod, [definition(**keys)], {NIC: (A,)})
    network = delegate.network
    assert (network.disable_check, len(network.versions)) == (listed, 2 if listed else 0)


@given(some.pod_flows, some.sandboxes)
def test_without_an_allocated_device_the_calls_name_none(flow: PodFlow, sandbox: Sandbox) -> None:
    for delegate in delegates_of(flow.pod, flow.definitions, flow.allocation):
        if delegate.device is None:
            for call in calls_of(delete(delegate, flow.pod, sandbox, None)):
                assert "deviceID" not in json.dumps(dict(call.config))


# ---- which calls: what Multus and cnitool have sent


def calls_of(conversation: Conversation[Any]) -> Iterator[PluginCall]:
    """The calls, each of which gets an empty answer."""
    calls: list[PluginCall] = []

    def execute(call: PluginCall) -> dict[str, Any]:
        calls.append(call)
        return {}

    libcni.conduct(conversation, execute)
    yield from calls


@attrs.frozen
class Recorded:
    """A call that a real runtime has made."""

    env: dict[str, str]
    config: dict[str, Any]

    @property
    def result(self) -> Result | None:
        if "prevResult" not in self.config:
            return None
        return result_from_json(self.config["prevResult"], InvalidManifest, "recorded")

    @property
    def sandbox(self) -> Sandbox:
        return Sandbox(ContainerId(self.env["CNI_CONTAINERID"]), self.env["CNI_NETNS"])


def recorded(name: str) -> list[Recorded]:
    calls = json.loads((DATA / f"{name}.json").read_bytes())
    return [Recorded(call["env"], decode_object(call["stdin"].encode(), name)) for call in calls]


def reproduced(call: PluginCall, dirs: tuple[str, ...]) -> Recorded:
    return Recorded(call.variables(dirs), decode_object(encode(call.config).encode(), "call"))


MULTUS_DIRS = ("/opt/cni/bin", "/opt/cni/bin")
UID = "7a1d9c1e-0000-4000-8000-000000000001"
NAD = "amd-host-device-nad-nic"
OWN_NAME = "amd-host-device-nad"
CAPABILITIES = dict.fromkeys(("CNIDeviceInfoFile", "deviceID", "ips", "mac"), True)
SELECTION = [
    {
        "name": NAD,
        "interface": "rdma0",
        "mac": "02:23:45:67:89:01",
        "ips": ["10.1.1.11/24"],
        "cni-args": {"foo": "bar"},
        "default-route": ["10.1.1.1"],
    },
    {"name": NAD},
]
TYPE = {"type": "amd-host-device"}
SCENARIOS: dict[str, tuple[str, dict[str, Any]]] = {
    "multus-0.3.1": (f"{NAD}, {NAD}", {"name": OWN_NAME, "cniVersion": "0.3.1", **TYPE}),
    "multus-1.1.0": (f"{NAD}, {NAD}", {"name": OWN_NAME, "cniVersion": "1.1.0", **TYPE}),
    "multus-no-version": (f"{NAD}, {NAD}", TYPE),
    "multus-1.0.0-list-sbr": (
        f"{NAD}, {NAD}",
        {"cniVersion": "1.0.0", "plugins": [TYPE, {"type": "sbr"}]},
    ),
    "multus-1.0.0-selection": (
        json.dumps(SELECTION),
        {"cniVersion": "1.0.0", **TYPE, "capabilities": CAPABILITIES},
    ),
    "multus-1.1.0-capabilities": (
        f"{NAD}, {NAD}",
        {"cniVersion": "1.1.0", **TYPE, "capabilities": CAPABILITIES},
    ),
}


def sample_pod(networks: str) -> Pod:
    manifest = pod_manifest(networks)
    manifest["metadata"] |= {"name": "samplepod", "uid": UID}
    return parse_pod(manifest)


def sample_delegates(networks: str, config: dict[str, Any]) -> tuple[Delegate, ...]:
    pod = sample_pod(networks)
    manifest = {
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": NAD, "annotations": {RESOURCE_NAME: NIC}},
        "spec": {"config": json.dumps(config)},
    }
    allocation = allocation_from_checkpoint(checkpoint_of(entry(UID, NIC, [B, A])), pod)
    return delegates_of(pod, [parse_definition(manifest)], allocation)


@pytest.mark.parametrize("name", SCENARIOS)
def test_multus_is_reproduced_from_pod_definition_and_checkpoint(name: str) -> None:
    networks, config = SCENARIOS[name]
    pod, delegates = sample_pod(networks), sample_delegates(networks, config)
    recordings = recorded(name)
    results = {
        call.env["CNI_IFNAME"]: call.result for call in recordings if call.result is not None
    }
    sandbox = recordings[0].sandbox
    conversations = [
        *(add(delegate, pod, sandbox) for delegate in delegates),
        *(delete(d, pod, sandbox, results.get(d.ifname)) for d in reversed(delegates)),
    ]
    made = [
        reproduced(call, MULTUS_DIRS)
        for conversation in conversations
        for call in calls_of(conversation)
        if call.plugin == "amd-host-device"
    ]
    assert made == recordings


@pytest.mark.parametrize("name", SCENARIOS)
def test_standard_input_from_multus_is_written_as_go_writes_it(name: str) -> None:
    for call in json.loads((DATA / f"{name}.json").read_bytes()):
        assert to_go_json(json.loads(call["stdin"]), sort_keys=True) == call["stdin"]


def default_network_call(original: Recorded, network: PluginList) -> Conversation[Any]:
    """The call of a runtime for the cluster's default network, by the recorded verb."""
    env = original.env
    args = tuple(tuple(pair.split("=")) for pair in env["CNI_ARGS"].split(";") if pair)
    listed = original.config.get("cni.dev/valid-attachments")
    valid = None
    if listed is not None:
        valid = [AttachmentId(ContainerId(i["containerID"]), i["ifname"]) for i in listed]
    if env["CNI_COMMAND"] == "STATUS":
        return libcni.status(network)
    if env["CNI_COMMAND"] == "GC":
        return libcni.gc(network, valid)
    id = AttachmentId(original.sandbox.container_id, parse_ifname(env["CNI_IFNAME"]))
    wanted = Wanted(id, env["CNI_NETNS"], args)  # type: ignore[arg-type]
    match env["CNI_COMMAND"]:
        case "ADD":
            return libcni.add(network, wanted)
        case "CHECK":
            return libcni.check(network, wanted, original.result or Result())
        case _:
            return libcni.delete(network, wanted, original.result)


@pytest.mark.parametrize(
    ("name", "network", "dirs"),
    [
        ("multus-static-delegate", "amdnet", MULTUS_DIRS),
        ("cnitool-1.1.0", "amdlist", MULTUS_DIRS[:1]),
    ],
)
def test_the_calls_of_a_default_network_and_of_cnitool_are_reproduced(
    name: str, network: str, dirs: tuple[str, ...]
) -> None:
    plugin = {**TYPE, "deviceID": A, "pciBusID": A}
    source = {"cniVersion": "1.1.0", "name": network, "plugins": [plugin]}
    listed = parse_plugin_list(json.dumps(source).encode())
    for original in recorded(name):
        (call,) = calls_of(default_network_call(original, listed))
        assert reproduced(call, dirs) == original


def test_every_recording_is_reproduced() -> None:
    names = {path.stem for path in DATA.glob("*.json")} - {"network-status"}
    assert names == {*SCENARIOS, "multus-static-delegate", "cnitool-1.1.0"}


def test_the_second_plugin_of_a_list_gets_the_result_of_the_first() -> None:
    networks, config = SCENARIOS["multus-1.0.0-list-sbr"]
    delegate = sample_delegates(networks, config)[0]
    sandbox = recorded("multus-1.0.0-list-sbr")[0].sandbox
    conversation = add(delegate, sample_pod(networks), sandbox)
    assert next(conversation).plugin == "amd-host-device"
    answer = {"interfaces": [{"name": "net1", "sandbox": sandbox.netns}]}
    second = conversation.send(answer)
    assert second.plugin == "sbr"
    assert second.config["prevResult"]["interfaces"] == answer["interfaces"]
    assert (second.config["deviceID"], second.config["pciBusID"]) == (A, A)
    with pytest.raises(StopIteration) as end:
        conversation.send({"interfaces": [{"name": "last"}]})
    assert end.value.value == Result((Interface("last"),))


def test_without_an_answer_the_second_plugin_of_a_list_still_gets_the_interface() -> None:
    networks, config = SCENARIOS["multus-1.0.0-list-sbr"]
    delegate = sample_delegates(networks, config)[0]
    sandbox = recorded("multus-1.0.0-list-sbr")[0].sandbox
    _, second = calls_to_add(delegate, sample_pod(networks), sandbox)
    interface = {"name": delegate.ifname, "sandbox": sandbox.netns}
    assert second.config["prevResult"]["interfaces"] == [interface]


def test_the_addresses_that_a_pod_asks_for_its_container_and_missing_uid_are_in_cni_args() -> None:
    asked = '[{"name": "fabric", "ips": ["10.0.0.1/24", "fd00::1"]}]'
    pod = parse_pod(pod_manifest(asked))
    (delegate,) = delegates_of(pod, [definition()], {NIC: (A,)})
    (call,) = calls_to_add(delegate, pod, Sandbox(ContainerId("c1"), "/run/netns/pod1"))
    args = call.args.split(";")
    assert "IP=10.0.0.1/24,fd00::1" in args
    assert args.count("K8S_POD_UID=") == args.count("K8S_POD_INFRA_CONTAINER_ID=c1") == 2


def test_the_guid_that_a_pod_asks_for_is_a_capability_argument() -> None:
    asked = '[{"name": "fabric", "infiniband-guid": "c2:11:22:33:44:55:66:77"}]'
    (delegate,) = delegates_of(parse_pod(pod_manifest(asked)), [definition()], {NIC: (A,)})
    assert delegate.capability_args["infinibandGUID"] == "c2:11:22:33:44:55:66:77"


# ---- what Multus reports


def test_the_status_is_the_one_that_multus_has_written() -> None:
    """Of `multus-0.3.1`, byte for byte."""
    written = (DATA / "network-status.json").read_text()
    entries = json.loads(written)
    statuses = [
        status
        for each in entries
        for status in statuses_of(
            each["name"],
            result_of(each),
            default=each.get("default", False),
            device_info=each.get("device-info"),
        )
    ]
    assert status_annotation(statuses) == written.rstrip("\n")


def result_of(entry: dict[str, Any]) -> Result:
    """A result that could have led to a status."""
    routes = [{"dst": "0.0.0.0/0"}] if "gateway" in entry else []
    plain = {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "vethhost"},
            {"name": entry["interface"], "mac": entry["mac"], "sandbox": "/run/netns/pod1"},
        ],
        "ips": [
            {"address": f"{ip}/{128 if ':' in ip else 32}", "interface": 1} for ip in entry["ips"]
        ],
        "routes": [*routes, {"dst": "10.0.0.0/8"}],
    }
    return result_from_json(plain, InvalidManifest, "result")


@given(some.results)
def test_each_interface_in_the_pod_has_its_status_and_each_address_at_most_one(
    result: Result,
) -> None:
    statuses = list(statuses_of("default/fabric", result, default=True))
    inside = [netdev for netdev in result.interfaces if netdev.sandbox]
    assert [status.interface for status in statuses] == inside
    assert [status.default for status in statuses] == [n == 0 for n in range(len(inside))]
    addresses = [ip for status in statuses for ip in status.ips]
    assert len(addresses) <= len(result.ips)
    read = json.loads(status_annotation(statuses))
    assert [status["interface"] for status in read] == [netdev.name for netdev in inside]


def test_addresses_without_an_interface_and_dns_belong_to_the_first() -> None:
    nowhere, second = map(ipaddress.ip_interface, ("10.0.0.1/24", "10.0.0.2/24"))
    netdevs = tuple(Interface(name, sandbox="/run/netns/pod1") for name in ("net1", "net2"))
    result = Result(netdevs, (Ip(second, interface=1), Ip(nowhere)), dns=Dns(("10.0.0.53",)))
    one, other = statuses_of("default/fabric", result)
    assert (one.ips, other.ips) == ((nowhere.ip,), (second.ip,))
    assert json.loads(status_annotation([one]))[0]["dns"] == {"nameservers": ["10.0.0.53"]}


def test_a_gateway_is_shown_by_its_address() -> None:
    gateway = ipaddress.ip_address("::1")
    status = NetworkStatus("default/fabric", Interface("net1"), gateways=(gateway, None))
    assert json.loads(status_annotation([status]))[0]["gateway"] == ["::1", "<nil>"]


def test_the_status_has_everything_in_a_result_as_go_writes_it() -> None:
    dns = Dns(("10.0.0.53",), "corp.example", ("a.example",), ("edns0",))
    netdev = Interface("nét<1>X", sandbox="/run/netns/pod1", mtu=9000)
    (status,) = statuses_of("default/fabric", Result((netdev,), dns=dns))
    text = status_annotation([status])
    assert "nét\\u003c1\\u003eX" in text
    assert json.loads(text) == [
        {
            "name": "default/fabric",
            "interface": netdev.name,
            "mtu": 9000,
            "dns": {
                "nameservers": ["10.0.0.53"],
                "domain": "corp.example",
                "search": ["a.example"],
                "options": ["edns0"],
            },
        }
    ]
