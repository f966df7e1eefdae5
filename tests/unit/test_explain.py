"""`amdcni explain`: the integration flow with a pod's own values, and any fault in one line."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from amdcni.cli import main
from amdcni.cli.explain import Rules
from amdcni.core.errors import InvalidManifest, PolicyDenies
from amdcni.core.kubernetes import Allocation, ObjectName, Pod
from amdcni.core.kubernetes.review import request_of
from amdcni.core.policy import Naming, Policy
from amdcni.manifests import MAX_FILE_BYTES, read_manifests
from tests.unit.test_kubernetes import NIC, A, B, checkpoint_of, entry

MANIFESTS = Path(__file__).parents[2] / "examples/manifests"
POD, NETWORK = str(MANIFESTS / "pod.yaml"), str(MANIFESTS / "network.yaml")
DEVICES = ["--device", A, "--device", B]
DOCUMENTED = """\
     {
       "name": "amd-host-device-nad",
       "cniVersion": "0.3.1",
       "type": "amd-host-device",
       "deviceID": "0000:01:00.0"
     }
"""
"""The configuration that the integration document shows."""


def explain(*words: str) -> tuple[int, str, str]:
    """The exit status and both streams."""
    out, err = io.StringIO(), io.StringIO()
    status = main(["explain", *words], out, err)
    return status, out.getvalue(), err.getvalue()


def explained(*words: str) -> Any:
    """The explanation as JSON."""
    status, out, err = explain(*words, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def refused(*words: str) -> str:
    """The one line that says why there is nothing to explain."""
    status, out, err = explain(*words)
    assert (status, out) == (1, "")
    assert err.startswith("amdcni: ")
    assert err.count("\n") == 1
    return err


def objects(tmp_path: Path, networks: str, **configs: dict[str, Any]) -> str:
    """The path of a file with a pod that selects `networks`, and definitions of these names."""
    pod = {
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": {"k8s.v1.cni.cncf.io/networks": networks}},
    }
    definitions = [
        {
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name},
            "spec": {"config": json.dumps({"cniVersion": "1.0.0", "name": name, **config})},
        }
        for name, config in configs.items()
    ]
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"kind": "List", "items": [pod, *definitions]}))
    return str(file)


def lending(**keys: Any) -> dict[str, Any]:
    return {"type": "amd-host-device", **keys}


# ---- what cannot work


@pytest.mark.parametrize("name", ["eth0", "lo"])
def test_a_name_that_the_pod_already_has_is_refused(tmp_path: Path, name: str) -> None:
    file = objects(tmp_path, f"a@{name}", a=lending(device="ens5"))
    assert f"gives the name '{name}' to NetworkAttachmentDefinition default/a" in refused(file)


def test_a_chosen_name_that_is_also_a_counted_one_is_refused(tmp_path: Path) -> None:
    file = objects(tmp_path, "a,b@net1", a=lending(device="ens5"), b=lending(device="ens6"))
    assert "the name 'net1' to two interfaces" in refused(file)


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ({"device": "ens5"}, {"device": "ens5"}, True),
        ({"device": "ens5"}, {"device": "ens6"}, False),
        ({"deviceID": A}, {"pciBusID": A.upper()}, True),
        ({"deviceID": A}, {"deviceID": B}, False),
        ({"hwaddr": "02:00:00:00:00:0a"}, {"hwaddr": "02-00-00-00-00-0A"}, True),
        ({"kernelpath": "/sys/devices/x"}, {"kernelpath": "/sys/devices/x"}, True),
        ({"deviceID": A}, {"deviceID": A, "device": "ens5"}, True),
        ({"deviceID": A, "device": "ens5"}, {"deviceID": A, "device": "ens6"}, False),
        ({"deviceID": A}, {"device": "ens5"}, False),
    ],
)
def test_one_device_for_two_interfaces_is_refused_but_two_devices_are_not(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], clash: bool
) -> None:
    file = objects(tmp_path, "a@net7,b@net8", a=lending(**first), b=lending(**second))
    status, out, _ = explain(file)
    assert status == clash
    assert ("is attached as 'net7' first" in out) == clash


def test_two_netdevs_in_one_list_are_refused_because_they_get_the_same_name(tmp_path: Path) -> None:
    plugins = [lending(device="ens5"), {"type": "tuning"}, lending(device="ens6")]
    status, out, _ = explain(objects(tmp_path, "a", a={"plugins": plugins}))
    assert status == 1
    assert out.count("It would be refused") == 1
    assert "gives the pod a netdev as 'net1' first" in out


# ---- what the policy does not let a configuration say


def test_a_configuration_may_write_only_where_definitions_may(tmp_path: Path) -> None:
    file = objects(tmp_path, "a", a=lending(device="ens5", dataDir="/srv/x", logFile="/etc/x"))
    status, out, _ = explain(file)
    assert status == 1
    (line,) = [line for line in out.splitlines() if "It would be refused: " in line]
    assert "dataDir '/srv/x' is in no folder where definitions may make root write" in line
    assert "; logFile '/etc/x' is in no folder" in line


UID = "uid-1"
ALLOCATED = Policy(naming=Naming.ALLOCATED)


def refusal(policy: Policy | None, allocation: Allocation | None, **keys: Any) -> str | None:
    """Why an ADD with these keys would be refused because of its configuration."""
    environ = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "net1",
    }
    request = request_of(environ, {"cniVersion": "1.0.0", "name": "a", **lending(**keys)})
    try:
        Rules(policy, Pod(ObjectName("default", "p"), uid=UID), allocation).require(request)
    except PolicyDenies as denial:
        return denial.message
    return None


@pytest.mark.parametrize("allocation", [None, {}, {NIC: (A,)}])
@pytest.mark.parametrize(
    ("key", "value"),
    [("device", "ens5"), ("hwaddr", "02:00:00:00:00:01"), ("kernelpath", "/sys/devices/x")],
)
def test_a_definition_may_not_name_a_device_itself_if_the_policy_says_so(
    allocation: Allocation | None, key: str, value: str
) -> None:
    assert f"by {key}: " in str(refusal(ALLOCATED, allocation, **{key: value}))
    for other in (None, Policy()):
        assert refusal(other, allocation, **{key: value}) is None


def test_a_device_has_to_be_one_of_those_that_are_allocated_as_far_as_these_are_known() -> None:
    allocation = {"x/vf": (B,), NIC: (A,)}
    for device in (A, B):
        assert refusal(ALLOCATED, allocation, deviceID=device) is None
    other = "0000:03:00.0"
    said = f"{other} is not allocated to the pod with the UID {UID}: "
    assert str(refusal(ALLOCATED, allocation, deviceID=other)).startswith(said)
    assert refusal(ALLOCATED, None, deviceID=other) is None
    for unlimited in (None, Policy(), Policy(fault="it is torn")):
        assert refusal(unlimited, allocation, deviceID=other) is None


# ---- what is explained


def test_the_pod_in_the_document_gets_the_configuration_shown_there() -> None:
    status, out, _ = explain(POD, NETWORK, *DEVICES)
    assert status == 0
    assert DOCUMENTED in out
    assert DOCUMENTED.replace(A, B) in out


def test_the_four_phases_show_the_pods_values_and_no_colour_in_a_file() -> None:
    _, out, _ = explain(POD, NETWORK, *DEVICES)
    for words in (
        "1. Resource allocation",
        f"requests 2 of amd.com/nic; allocated: {A}, {B}",
        "2. Network setup initiation",
        "the network namespace /run/netns/POD of the sandbox CONTAINER_ID",
        "3. Multus orchestration",
        f"net2: NetworkAttachmentDefinition default/amd-host-device-nad-nic, with {B} of {NIC}",
        "4. CNI execution",
        "CNI_IFNAME=net2",
    ):
        assert words in out
    assert "\x1b" not in out


def test_standard_input_is_shown_on_one_line_to_copy() -> None:
    _, out, _ = explain(POD, NETWORK, *DEVICES)
    first = (
        f'{{"cniVersion":"0.3.1","deviceID":"{A}","name":"amd-host-device-nad",'
        f'"pciBusID":"{A}","type":"amd-host-device"}}'
    )
    assert first in [line.strip() for line in out.splitlines()]


def test_programs_get_the_explanation_as_json() -> None:
    flow = explained(POD, NETWORK, *DEVICES, "--container-id", "c1", "--netns", "/run/netns/x")
    assert flow["allocation"] == {NIC: [A, B]}
    assert flow["requests"] == {NIC: 2}
    first, second = flow["networks"]
    assert (first["device"], second["ifname"]) == (A, "net2")
    (call,) = second["calls"]
    assert call["environment"]["CNI_CONTAINERID"] == "c1"
    assert call["environment"]["CNI_NETNS"] == "/run/netns/x"
    assert call["stdin"]["deviceID"] == B
    assert (call["plan"], call["refused"]) == ([], None)


def test_devices_come_from_the_environment_a_checkpoint_or_pod_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = tmp_path / "pod.yaml"
    pod.write_text(Path(POD).read_text().replace("metadata:", "metadata:\n  uid: uid-1"))
    checkpoint, answer = tmp_path / "checkpoint", tmp_path / "answer.json"
    checkpoint.write_text(json.dumps(checkpoint_of(entry("uid-1", NIC, [B], [A]))))
    devices = [{"resource_name": NIC, "device_ids": [A, B]}]
    listed = {"name": "network-workload", "namespace": "default"}
    pods = [{**listed, "containers": [{"devices": devices}]}]
    answer.write_text(json.dumps({"pod_resources": pods}))
    monkeypatch.setenv("PCIDEVICE_AMD_COM_NIC_0", A)
    monkeypatch.setenv("PCIDEVICE_AMD_COM_NIC_1", B)
    sources = [[], ["--checkpoint", str(checkpoint)], ["--pod-resources", str(answer)]]
    flows = [explained(str(pod), NETWORK, *source) for source in sources]
    assert [flow["allocation"] for flow in flows] == [{NIC: [A, B]}] * 3
    assert flows[1]["pod"]["uid"] == "uid-1"


def test_what_the_plugin_would_refuse_on_every_node_is_shown(tmp_path: Path) -> None:
    status, out, err = explain(POD, NETWORK, "--device", "eth7", "--device", B)
    assert (status, err) == (1, "")
    assert "It would be refused: the network configuration is wrong: $.deviceID: 'eth7'" in out
    assert out.count("It would be refused") == 1
    (bare := tmp_path / "bare.yaml").write_text(
        Path(NETWORK).read_text().replace("k8s.v1.cni.cncf.io/resourceName", "x/y")
    )
    status, out, err = explain(POD, str(bare), "--device", f"{NIC}={A}")
    assert (status, err) == (1, "")
    assert "It would be refused: the configuration names no device; give one of" in out


def test_a_pod_that_a_source_does_not_know_is_reported(tmp_path: Path) -> None:
    (checkpoint := tmp_path / "checkpoint").write_text(json.dumps(checkpoint_of()))
    (answer := tmp_path / "answer.json").write_text(json.dumps({"pod_resources": []}))
    pod = tmp_path / "pod.yaml"
    pod.write_text(Path(POD).read_text().replace("metadata:", "metadata:\n  uid: uid-2"))
    for option, path in (("--checkpoint", checkpoint), ("--pod-resources", answer)):
        said = refused(str(pod), NETWORK, option, str(path))
        assert f", {path}, lists no device of pod default/network-workload: is it" in said


def test_a_surplus_device_is_shown_and_is_not_a_fault() -> None:
    extra = "0000:03:00.0"
    assert explained(POD, NETWORK, *DEVICES, "--device", extra)["not_attached"] == {NIC: [extra]}
    assert f"No network takes {extra}" in explain(POD, NETWORK, *DEVICES, "--device", extra)[1]


def test_a_pod_without_networks_has_an_explanation_too(tmp_path: Path) -> None:
    (pod := tmp_path / "pod.yaml").write_text("kind: Pod\nmetadata: {name: plain}\n")
    status, out, _ = explain(str(pod))
    assert status == 0
    assert "requests no devices, and has none" in out
    assert "no annotation that selects a network" in out


def test_with_several_resources_each_device_must_name_its_own(tmp_path: Path) -> None:
    both = tmp_path / "both.yaml"
    other = Path(NETWORK).read_text().replace("nad-nic", "nad-vf").replace("amd.com/nic", "x/vf")
    pod = (
        Path(POD)
        .read_text()
        .replace("nad-nic, amd-host-device-nad-nic", "nad-nic, amd-host-device-nad-vf")
    )
    both.write_text("---\n".join([pod, Path(NETWORK).read_text(), other]))
    flow = explained(str(both), "--device", f"{NIC}={A}", "--device", f"x/vf={B}")
    assert [network["device"] for network in flow["networks"]] == [A, B]
    assert f"say RESOURCE={A}; the pod's definitions name amd.com/nic, x/vf" in refused(
        str(both), "--device", A
    )


def test_a_definition_without_a_configuration_uses_one_on_the_node(tmp_path: Path) -> None:
    (definition := tmp_path / "network.yaml").write_text(
        Path(NETWORK).read_text().partition("spec:")[0]
    )
    config = {"cniVersion": "1.0.0", "name": "amd-host-device-nad-nic", "type": "amd-host-device"}
    (tmp_path / "10-fabric.conf").write_text(json.dumps(config))
    files = [POD, str(definition), *DEVICES]
    flow = explained(*files, "--networks-dir", str(tmp_path))
    assert flow["networks"][0]["configuration"] == {**config, "deviceID": A}
    assert "spec.config is absent" in refused(*files, "--networks-dir", "/nowhere")


# ---- faults


def test_objects_that_do_not_fit_together_are_refused_in_one_line() -> None:
    words = "pod default/network-workload"
    assert f"{words} selects the NetworkAttachmentDefinition default/amd-host-device-nad-nic, " in (
        refused(POD, *DEVICES)
    )
    assert "more often than it has devices of amd.com/nic: 1" in refused(POD, NETWORK, *DEVICES[:2])
    assert f"the device {A} is allocated" in refused(POD, NETWORK, *DEVICES[:2], *DEVICES[:2])
    assert "there are 0 pods" in refused(NETWORK)
    assert "there are 2 pods" in refused(POD, POD)
    assert "is not a container ID" in refused(POD, NETWORK, *DEVICES, "--container-id", "a b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b: c\n", "line 1: is not YAML: mapping values are not allowed here"),
        ("kind: Pod\n\tx: 1\n", "line 2: is not YAML"),
        ("a: !!python/object:os.system {}\n", "line 1: is not YAML: could not determine a const"),
        ("a: .nan\n", "cannot be a Kubernetes object"),
        ("a: !!binary aGk=\n", "cannot be a Kubernetes object"),
        ("a: &a [*a]\n", "cannot be a Kubernetes object"),
        ("- 1\n", "a document is not a Kubernetes object"),
        ("kind: List\nitems: [1]\n", "a document is not a Kubernetes object"),
        ("kind: Service\n", "'Service' is neither a Pod, nor something with a template of pods"),
        ("kind: Pod\n", "$.metadata.name is missing"),
        ("\x00", "is not YAML"),
    ],
)
def test_what_is_not_a_manifest_is_refused_in_one_line_with_its_path(
    text: str, words: str, tmp_path: Path
) -> None:
    (path := tmp_path / "wrong.yaml").write_text(text)
    line = refused(str(path))
    assert line.startswith(f"amdcni: {path}")
    assert words in line


def test_a_configuration_that_is_not_json_is_reported_with_its_definition(tmp_path: Path) -> None:
    """The integration document has a comment in it, which JSON does not allow."""
    (path := tmp_path / "network.yaml").write_text(
        Path(NETWORK).read_text().replace('"amd-host-device"\n', '"amd-host-device" # plugin\n')
    )
    line = refused(POD, str(path), *DEVICES)
    assert (
        f"{path}: NetworkAttachmentDefinition default/amd-host-device-nad-nic: spec.config" in line
    )
    assert "is not JSON" in line


def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    assert "/nowhere: cannot be read: No such file" in refused("/nowhere")
    assert "/nowhere: cannot be read" in refused(POD, NETWORK, "--checkpoint", "/nowhere")
    (path := tmp_path / "wrong").write_bytes(b"\xff\xfe")
    assert "is not YAML: " in refused(str(path))
    assert f"{path} is not UTF-8" in refused(POD, NETWORK, "--pod-resources", str(path))


def test_a_list_of_objects_and_empty_documents_are_read(tmp_path: Path) -> None:
    (path := tmp_path / "list.yaml").write_text("---\n---\nkind: PodList\nitems: [{kind: Pod}]\n")
    assert [manifest for _, manifest in read_manifests([str(path)])] == [{"kind": "Pod"}]


def test_a_date_without_quotes_is_a_string_as_in_kubernetes(tmp_path: Path) -> None:
    (path := tmp_path / "pod.yaml").write_text("created: 2026-01-01T00:00:00Z\n")
    assert read_manifests([str(path)]) == ((str(path), {"created": "2026-01-01T00:00:00Z"}),)


def test_a_file_that_is_too_large_is_refused_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    pod = b"kind: Pod\n---\n"
    path.write_bytes(pod + b"#" * (MAX_FILE_BYTES - 2 * len(pod) + 5) + b"\n" + pod)
    with pytest.raises(InvalidManifest, match=f"larger than {MAX_FILE_BYTES} bytes"):
        read_manifests([str(path)])
