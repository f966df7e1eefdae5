"""From a pod's annotation to the call of a plugin: objects, selections and devices."""

import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import InvalidManifest
from amdcni.core.kubernetes import (
    NetworkSelection,
    ObjectName,
    Pod,
    allocation_from_checkpoint,
    allocation_from_environment,
    allocation_from_pod_resources,
    parse_definition,
    parse_pod,
    parse_selections,
)
from amdcni.core.kubernetes.allocation import devices_allocated_to
from amdcni.core.names import parse_ifname
from amdcni.testing import strategies as some

NETWORKS = "k8s.v1.cni.cncf.io/networks"
RESOURCE_NAME = "k8s.v1.cni.cncf.io/resourceName"
NIC = "amd.com/nic"


def pod_manifest(networks: object = None, **spec: Any) -> dict[str, Any]:
    annotations = {} if networks is None else {NETWORKS: networks}
    metadata = {"name": "work", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def definition_manifest(config: object, **annotations: object) -> dict[str, Any]:
    spec = {} if config is None else {"config": config}
    metadata = {"name": "fabric", "annotations": annotations}
    return {"kind": "NetworkAttachmentDefinition", "metadata": metadata, "spec": spec}


# ---- selections


def short(selection: NetworkSelection) -> str:
    ifname = "" if selection.ifname is None else f"@{selection.ifname}"
    return f"{selection.namespace}/{selection.name}{ifname}"


KEYS = {
    "ifname": "interface",
    "infiniband_guid": "infiniband-guid",
    "cni_args": "cni-args",
    "gateways": "default-route",
    "port_mappings": "portMappings",
}


def as_json(selection: NetworkSelection) -> dict[str, Any]:
    plain = {
        key: value for key, value in attrs.asdict(selection).items() if value not in (None, ())
    }
    plain["default-route"] = list(map(str, selection.gateways))
    plain.pop("gateways", None)
    return {KEYS.get(key, key): value for key, value in plain.items()}


@given(st.lists(some.network_selections, min_size=1, max_size=4))
def test_a_selection_in_json_is_read(selections: list[NetworkSelection]) -> None:
    text = json.dumps(list(map(as_json, selections)))
    assert parse_selections(text, "elsewhere") == tuple(selections)


@given(st.lists(some.network_selections, min_size=1, max_size=4), st.sampled_from([",", " , "]))
def test_the_short_list_means_the_same_as_json(
    selections: list[NetworkSelection], comma: str
) -> None:
    plain = [NetworkSelection(one.name, one.namespace, one.ifname) for one in selections]
    assert parse_selections(comma.join(map(short, plain)), "elsewhere") == tuple(plain)


@given(some.labels, some.labels)
def test_a_selection_without_a_namespace_has_that_of_the_pod(name: str, namespace: str) -> None:
    for text in (name, json.dumps([{"name": name}])):
        assert parse_selections(text, namespace) == (NetworkSelection(name, namespace),)


@pytest.mark.parametrize(
    "text", ["team/fabric@rdma0", " team / fabric @ rdma0 ", "team/ fabric @rdma0"]
)
def test_spaces_around_the_parts_of_a_selection_mean_nothing(text: str) -> None:
    (selection,) = parse_selections(text, "default")
    assert selection == NetworkSelection("fabric", "team", parse_ifname("rdma0"))


def test_null_is_treated_as_absent() -> None:
    keys = ("namespace", "interface", "mac", "ips", "cni-args", "default-route", "portMappings")
    annotation = json.dumps([{"name": "a", **dict.fromkeys(keys)}])
    assert parse_selections(annotation, "default") == (NetworkSelection("a", "default"),)
    metadata = {"name": "work", "namespace": None, "uid": None, "annotations": None}
    pod = parse_pod({"kind": "Pod", "metadata": metadata, "spec": {"containers": None}})
    assert pod == Pod(ObjectName("default", "work"))


def test_the_old_key_for_the_interface_counts_only_without_the_new_one() -> None:
    (old,) = parse_selections('[{"name": "a", "interfaceRequest": "x0"}]', "default")
    both = '[{"name": "a", "interfaceRequest": "x0", "interface": "y0"}]'
    (new,) = parse_selections(both, "default")
    assert (old.ifname, new.ifname) == ("x0", "y0")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("", "'' is not [namespace/]name[@interface]"),
        ("a,,b", "'' is not [namespace/]name"),
        (
            "A",
            "'A' is not [namespace/]name[@interface], each of lower-case letters, digits and '-'",
        ),
        ("a/b/c", "'a/b/c' is not [namespace/]name"),
        ("a@b@c", "'a@b@c' is not [namespace/]name"),
        ("/a", "'/a' is not [namespace/]name"),
        ("a@", "'a@' is not [namespace/]name"),
        ("a@sixteen-letters0", "'sixteen-letters0' is not an interface name"),
        ("[", "is not JSON"),
        ('{"name": "a"}', "is an object"),
        ("[1]", "$[0] is a number (1), not an object"),
        ("[{}]", "$[0].name is missing"),
        ('[{"name": 1}]', "$[0].name is a number (1), not a string"),
        ('[{"name": "a", "mac": "x"}]', "$[0].mac: 'x' is not a hardware address"),
        ('[{"name": "a", "ips": ["10.0.0.1/33"]}]', "$[0].ips[0]: '10.0.0.1/33'"),
        (
            '[{"name": "a", "ips": ["x"]}]',
            "$[0].ips[0]: 'x' does not appear to be an IPv4 or IPv6 address",
        ),
        ('[{"name": "\ud800"}]', "is not UTF-8"),
        ('[{"name": "a", "ips": "x"}]', "$[0].ips is a string"),
        ('[{"name": "a", "interface": "a b"}]', "$[0].interface: 'a b' is not an interface name"),
        ('[{"name": "a", "default-route": ["x"]}]', "$[0].default-route[0]: 'x'"),
        ('[{"name": "a", "cni-args": []}]', "$[0].cni-args is a list ([]), not an object"),
    ],
)
def test_an_invalid_selection_is_reported_with_the_annotation_and_the_pod(
    annotation: str, words: str
) -> None:
    with pytest.raises(InvalidManifest) as refusal:
        parse_selections(annotation, "default", f"pod default/work: annotation {NETWORKS}")
    assert words in refusal.value.message
    assert refusal.value.message.startswith(f"pod default/work: annotation {NETWORKS}")


# ---- pods and definitions


def test_a_pod_has_its_networks_and_the_device_count_of_all_containers() -> None:
    """The pod of the integration document."""
    nics = {"requests": {NIC: 2, "cpu": "500m"}, "limits": {NIC: "2", "memory": "1Gi"}}
    containers = [{"name": "app", "resources": nics}, {"resources": {"limits": {NIC: 1}}}, {}]
    pod = parse_pod(pod_manifest("fabric, fabric", containers=containers))
    assert pod.id == ObjectName("default", "work")
    assert [str(network) for network in pod.networks] == ["default/fabric"] * 2
    assert dict(pod.requests) == {NIC: 3}
    assert pod.uid is None


def test_a_pod_may_have_no_networks() -> None:
    for networks in (None, ""):
        assert parse_pod(pod_manifest(networks)).networks == ()
    assert parse_pod({"kind": "Pod", "metadata": {"name": "work"}}) == Pod(
        ObjectName("default", "work")
    )


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({}, "is of kind None, not Pod"),
        ({"kind": "Deployment"}, "is of kind 'Deployment', not Pod"),
        ({"kind": "Pod"}, "the manifest of a Pod is wrong: $.metadata.name is missing"),
        ({"kind": "Pod", "metadata": 1}, "$.metadata is a number"),
        (pod_manifest(["a"]), f"pod default/work: annotation {NETWORKS} is ['a'], not a string"),
        (pod_manifest("a b"), f"pod default/work: annotation {NETWORKS}: 'a b'"),
        (pod_manifest(containers=1), "pod default/work is wrong: $.spec.containers is a number"),
        (
            pod_manifest(containers=[{"resources": {"requests": {NIC: "two"}}}]),
            "pod default/work: $.spec.containers[0].resources: amd.com/nic is 'two', not a number",
        ),
    ],
)
def test_what_is_not_a_pod_is_reported(manifest: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidManifest) as refusal:
        parse_pod(manifest)
    assert words in refusal.value.message


def test_a_definition_has_a_resource_and_a_configuration_with_a_name() -> None:
    config = {"cniVersion": "0.3.1", "type": "amd-host-device"}
    manifest = definition_manifest(json.dumps(config), **{RESOURCE_NAME: NIC})
    definition = parse_definition(manifest)
    assert definition.config == {**config, "name": "fabric"}
    assert (definition.resource, definition.is_list) == (NIC, False)
    assert str(definition) == "NetworkAttachmentDefinition default/fabric"
    own_name = parse_definition(definition_manifest('{"type": "a", "name": "own"}'))
    assert (own_name.config["name"], own_name.resource) == ("own", None)


def test_a_definition_without_a_configuration_uses_the_nodes_of_its_name() -> None:
    node = {"fabric": {"name": "fabric", "plugins": [{"type": "a"}]}}
    for absent in (None, ""):
        definition = parse_definition(definition_manifest(absent), node)
        assert definition.config == node["fabric"]
        assert definition.is_list


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "spec.config is absent, and the node has no configuration named 'fabric'"),
        (1, "is wrong: $.spec.config is a number"),
        ("{", "spec.config is not JSON"),
        ("[]", "spec.config is a list ([]), not a JSON object"),
        ("{}", "spec.config has neither a type nor a list of plugins"),
        ('{"plugins": []}', "spec.config has neither a type nor a list of plugins"),
        ('{"plugins": [{"type": "a"}, {}]}', "spec.config: $.plugins[1] has no type"),
        ('{"plugins": ["a"]}', "spec.config: $.plugins[0] has no type"),
        ('{"type": 1}', "spec.config: $.plugins[0] has no type"),
    ],
)
def test_a_definition_without_plugins_is_reported(config: object, words: str) -> None:
    with pytest.raises(InvalidManifest) as refusal:
        parse_definition(definition_manifest(config))
    assert words in refusal.value.message
    assert refusal.value.message.startswith("NetworkAttachmentDefinition default/fabric")


def test_a_resource_that_is_not_a_string_is_reported_with_its_definition() -> None:
    with pytest.raises(InvalidManifest) as refusal:
        parse_definition(definition_manifest("{}", **{RESOURCE_NAME: [NIC]}))
    assert refusal.value.message == (
        f"NetworkAttachmentDefinition default/fabric: annotation {RESOURCE_NAME} is ['{NIC}'], "
        "not a string; in YAML, a value with a comma or of digits alone has to be quoted"
    )


@given(st.none() | st.integers() | st.booleans() | st.lists(st.text(), max_size=1))
def test_an_annotation_that_is_not_a_string_is_refused_as_in_kubernetes(value: object) -> None:
    manifest = pod_manifest("fabric")
    manifest["metadata"]["annotations"]["fabric@net8"] = value
    with pytest.raises(InvalidManifest, match=r"annotation fabric@net8 is .*, not a string"):
        parse_pod(manifest)


def test_a_configuration_that_is_not_utf_8_is_reported() -> None:
    with pytest.raises(InvalidManifest, match=r"spec\.config is not UTF-8"):
        parse_definition(definition_manifest('"\ud800"'))


# ---- devices

A, B, C = "0000:01:00.0", "0000:02:00.0", "0000:0a:00.0"


@pytest.mark.parametrize(
    ("environ", "devices"),
    [
        ({"PCIDEVICE_AMD_COM_NIC": f"{B},{A}"}, (B, A)),
        ({"PCIDEVICE_AMD_COM_NIC": f" {A} ,, "}, (A,)),
        ({"PCIDEVICE_AMD_COM_NIC_0": A}, (A,)),
        ({f"PCIDEVICE_AMD_COM_NIC_{n}": f"{n:04x}" for n in (10, 9, 1)}, ("0001", "0009", "000a")),
        ({"PCIDEVICE_AMD_COM_NIC": A, "PCIDEVICE_AMD_COM_NIC_0": B}, (A,)),
        ({"PCIDEVICE_AMD_COM_NIC_INFO": "{}", "PCIDEVICE_AMD_COM_NICE": A}, None),
    ],
)
def test_devices_are_read_from_variables_in_both_spellings(
    environ: Mapping[str, str], devices: tuple[str, ...] | None
) -> None:
    found = allocation_from_environment(environ, [NIC, "intel.com/sriov"])
    assert found == ({} if devices is None else {NIC: devices})


POD = Pod(ObjectName("default", "work"), "uid-1")


def checkpoint_of(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"Data": {"PodDeviceEntries": list(entries), "RegisteredDevices": {}}, "Checksum": 1}


def entry(uid: str, resource: str, *numa: list[str]) -> dict[str, Any]:
    devices = {str(node): each for node, each in enumerate(numa)}
    common = {"ContainerName": "ctr", "AllocResp": ""}
    return {"PodUID": uid, "ResourceName": resource, "DeviceIDs": devices, **common}


def test_the_checkpoint_gives_the_devices_of_all_containers_and_numa_nodes_sorted() -> None:
    checkpoint = checkpoint_of(
        entry("uid-1", NIC, [C], [B]),
        entry("uid-2", NIC, ["0000:ff:00.0"]),
        entry("uid-1", NIC, [A]),
        entry("uid-1", "amd.com/gpu", ["g0"]),
    )
    assert allocation_from_checkpoint(checkpoint, POD) == {NIC: (A, B, C), "amd.com/gpu": ("g0",)}
    assert devices_allocated_to(checkpoint, "uid-1") == {A, B, C, "g0"}
    assert devices_allocated_to(checkpoint, "uid-3") == frozenset()
    assert allocation_from_checkpoint({"Data": {"PodDeviceEntries": None}}, POD) == {}


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        ({}, "the kubelet's checkpoint is wrong: $.Data is missing"),
        ({"Data": {"PodDeviceEntries": [{}]}}, "$.Data.PodDeviceEntries[0].PodUID is missing"),
        (checkpoint_of({**entry("a", NIC), "DeviceIDs": [A]}), "DeviceIDs"),
    ],
)
def test_what_is_not_a_checkpoint_is_reported(checkpoint: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidManifest) as refusal:
        allocation_from_checkpoint(checkpoint, POD)
    assert words in refusal.value.message


def test_the_checkpoint_finds_pods_only_by_uid() -> None:
    with pytest.raises(InvalidManifest) as refusal:
        allocation_from_checkpoint(checkpoint_of(), attrs.evolve(POD, uid=None))
    assert refusal.value.message == (
        "pod default/work: metadata.uid, by which the checkpoint knows pods, is missing; take the "
        "manifest from the API server (kubectl get pod -o yaml)"
    )


def test_pod_resources_gives_the_devices_in_either_spelling() -> None:
    answer = {
        "pod_resources": [
            {
                "name": name,
                "namespace": "default",
                "containers": [
                    {"name": "a", "devices": [{"resource_name": NIC, "device_ids": devices}]},
                    {"name": "b"},
                ],
            }
            for name, devices in (("work", [B, A]), ("other", [C]))
        ]
    }
    camel = json.loads(
        json.dumps(answer)
        .replace("pod_resources", "podResources")
        .replace("resource_name", "resourceName")
        .replace("device_ids", "deviceIds")
    )
    for spelled in (answer, camel):
        assert allocation_from_pod_resources(spelled, POD) == {NIC: (A, B)}


def test_what_is_not_an_answer_of_pod_resources_is_reported() -> None:
    words = r"^the PodResources answer is wrong: \$\.pod_resources\[0\] is a number"
    with pytest.raises(InvalidManifest, match=words):
        allocation_from_pod_resources({"podResources": [1]}, POD)
