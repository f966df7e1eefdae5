"""A key that was probably written wrong is named, and nothing else is."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.cli import main
from amdcni.core.codec import decode_object
from amdcni.core.errors import InvalidManifest, UndecodableInput
from amdcni.core.formats.configurations import known_keys
from amdcni.core.formats.misspelt import Misspelt, misspelt_keys
from amdcni.core.kubernetes.objects import (
    TEMPLATES,
    ObjectName,
    Pod,
    parse_pod,
    parse_pod_template,
)
from amdcni.core.kubernetes.review import review
from tests.unit.test_explain import DEVICES, NETWORK, POD, explain, explained, refused
from tests.unit.test_kubernetes import A
from tests.unit.test_kubernetes_review import definition

KEYS = sorted(known_keys())


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        *(("movre", "mover"), ("Mover", "mover"), ("moover", "mover"), ("mut", "mtu")),
        *(("devcie", "device"), ("deviceId", "deviceID"), ("pciBusId", "pciBusID")),
        *(("dataDri", "dataDir"), ("copy_routes", "copyRoutes"), ("iapm", "ipam")),
    ],
)
def test_a_key_that_looks_like_one_of_ours_is_named_with_what_was_meant(
    key: str, meant: str
) -> None:
    assert misspelt_keys({"mtu": 1500, key: 1}) == (Misspelt(f"$.{key}", key, meant),)


def test_the_keys_within_the_runtimes_part_are_looked_at_by_themselves() -> None:
    others = {"portMappings": [], "movre": "native", "dataDri": "/a"}
    (found,) = misspelt_keys({"runtimeConfig": {"devicID": "x", **others}})
    assert str(found) == (
        "$.runtimeConfig.devicID: the key 'devicID' is not known; did you mean 'deviceID'?"
    )


@pytest.mark.parametrize(
    "key",
    [
        *("type", "tpye", "args", "capabilities", "capabilites", "prevResult", "disableCheck"),
        *("vlan", "mode", "master", "bridge", "isGateway", "linkState"),
        *("cni.dev/mover", "x/movre", "a/mover"),
    ],
)
def test_what_others_have_a_meaning_for_is_left_alone(key: str) -> None:
    assert misspelt_keys({key: 1, "runtimeConfig": 1}) == ()


@given(st.dictionaries(st.sampled_from(KEYS), st.none()))
def test_no_key_of_ours_is_taken_for_another_one(raw: dict[str, Any]) -> None:
    assert misspelt_keys(raw) == ()


@given(st.sampled_from([key for key in KEYS if len(key) > 3]), st.data())
def test_two_letters_that_have_changed_places_are_found(key: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(key) - 2))
    typed = key[:at] + key[at + 1] + key[at] + key[at + 2 :]
    if typed not in KEYS:
        assert [each.meant for each in misspelt_keys({typed: 1})] == [key]


def test_explain_and_doctor_name_it_and_an_add_accepts_it(tmp_path: Path) -> None:
    text = Path(NETWORK).read_text().replace('"cniVersion"', '"movre": "native", "cniVersion"')
    (path := tmp_path / "network.yaml").write_text(text)
    status, out, _ = explain(POD, str(path), *DEVICES)
    words = "$.movre: the key 'movre' is not known; did you mean 'mover'?"
    assert (status, words in out) == (0, True)
    first = explained(POD, str(path), *DEVICES)["networks"][0]["calls"][0]
    assert first["unknown_keys"] == [{"key": "movre", "meant": "mover"}]
    reviewed = review(definition(movre="native"))
    assert (reviewed.faults, reviewed.misspelt) == ((), (f"spec.config: {words}",))
    out_, err = io.StringIO(), io.StringIO()
    main(["doctor", str(path), "--json"], out_, err)
    says = [each["says"] for each in json.loads(out_.getvalue()) if words in each["says"]]
    assert len(says) == 1


# ---- JSON as people write it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": 2,}', "a comma before the closing '}': line 1 column 17"),
        ('{"a": [1,\n ]}', "a comma before the closing ']': line 2 column 2"),
        ('{"a": 1 // one\n}', "a comment, which JSON does not have: line 1 column 9"),
        ('{\n# one\n"a": 1}', "a comment, which JSON does not have: line 2 column 1"),
        ('/* one */ {"a": 1}', "a comment, which JSON does not have: line 1 column 1"),
        (",]", "a comma before the closing ']': line 1 column 2"),
        ("[,]", "a comma before the closing ']': line 1 column 3"),
        ("x,]", "Expecting value: line 1 column 1 (char 0)"),
        ('{"a": ",}\n"}', "Invalid control character at: line 1 column 10 (char 9)"),
        ('{"a": ",}" // one\n}', "a comment, which JSON does not have: line 1 column 12"),
        ('{"a": ",}" 1}', "Expecting ',' delimiter: line 1 column 12 (char 11)"),
        ("{'a': 1}", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
def test_what_json_does_not_have_is_called_by_its_name(text: str, said: str) -> None:
    with pytest.raises(UndecodableInput) as refusal:
        decode_object(text.encode(), "it")
    assert refusal.value.message == f"it is not JSON: {said}"


# ---- what makes pods

ANNOTATIONS = {"k8s.v1.cni.cncf.io/networks": "fabric"}
TEMPLATE = {
    "metadata": {"annotations": ANNOTATIONS, "uid": "none"},
    "spec": {"containers": [{"resources": {"limits": {"amd.com/nic": 2}}}]},
}


def workload(kind: str, template: object) -> dict[str, Any]:
    for key in reversed(TEMPLATES[kind]):
        template = {key: template}
    assert isinstance(template, dict)
    return {"kind": kind, "metadata": {"name": "trainer", "namespace": "team"}, **template}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_what_makes_pods_stands_for_one_of_them(kind: str) -> None:
    own = {"annotations": ANNOTATIONS, "name": "trainer", "namespace": "team"}
    pod = parse_pod({**TEMPLATE, "kind": "Pod", "metadata": own})
    assert parse_pod_template(workload(kind, TEMPLATE)) == pod
    assert (pod.requests, len(pod.networks)) == ({"amd.com/nic": 2}, 1)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", "$.spec.template"),
        ("CronJob", "$.spec.jobTemplate.spec.template"),
        ("PodTemplate", "$.template"),
    ],
)
def test_what_makes_pods_needs_a_template(kind: str, path: str) -> None:
    bare = {"kind": kind, "metadata": {"name": "trainer", "namespace": "team"}}
    for manifest in (workload(kind, None), workload(kind, "own"), bare, {**bare, "spec": 1}):
        with pytest.raises(InvalidManifest) as refusal:
            parse_pod_template(manifest)
        assert refusal.value.message == f"{kind} team/trainer: {path} is missing"


@pytest.mark.parametrize("metadata", [{}, {"metadata": None}, {"metadata": {"labels": {}}}])
def test_the_template_of_a_pod_needs_no_metadata(metadata: dict[str, Any]) -> None:
    pod = parse_pod_template(workload("Job", {**metadata, "spec": TEMPLATE["spec"]}))
    assert pod == Pod(ObjectName("team", "trainer"), requests={"amd.com/nic": 2})


def test_explain_takes_a_deployment(tmp_path: Path) -> None:
    (path := tmp_path / "deployment.json").write_text(json.dumps(workload("Deployment", TEMPLATE)))
    named = "name: fabric\n  namespace: team"
    words = Path(NETWORK).read_text().replace("name: amd-host-device-nad-nic", named)
    (network := tmp_path / "network.yaml").write_text(words)
    status, out, err = explain(str(path), str(network), "--device", A)
    assert (status, err) == (0, "")
    assert "pod team/trainer requests 2 of amd.com/nic" in out


def test_a_device_that_multus_adds_to_no_network_is_explained_as_doctor_does(
    tmp_path: Path,
) -> None:
    lines = Path(NETWORK).read_text().splitlines(keepends=True)
    kept = [line for line in lines if "resourceName" not in line]
    kept = [line.replace("annotations:", "annotations: {}") for line in kept]
    (path := tmp_path / "network.yaml").write_text("".join(kept))
    said = "metadata.annotations has no k8s.v1.cni.cncf.io/resourceName"
    assert said in refused(POD, str(path), *DEVICES)
