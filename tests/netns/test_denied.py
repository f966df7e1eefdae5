"""What the node's policy denies an ADD, and how `devices`, `doctor` and `explain` show it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amdcni.core.kubernetes import CHECKPOINT
from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.command import run_amdcni
from tests.netns.policies import POLICY, write_policy
from tests.netns.runtime import BDF, Runtime, by_delegate, damage
from tests.netns.test_devices import devices, table
from tests.netns.test_doctor import doctor, failures, manifest
from tests.netns.test_doctor import setup as setup
from tests.netns.test_operator import ask

ALLOWED, VFIO, ON_ETH1, FORGOTTEN = (f"0000:c{n}:00.0" for n in range(2, 6))
RULES = {
    "rules": [
        {"deny": {"ifname": "eth1"}, "why": "management"},
        {"deny": {"driver": "vfio*"}},
        {"allow": {"address": ["0000:c2:*", ON_ETH1]}},
    ],
    "otherwise": "deny",
}
TORN = f"{POLICY} cannot be used, so nothing is lent: "


@pytest.fixture
def five(node: Node, nic: Nic) -> tuple[str, ...]:
    """The addresses of eth1 and four more NICs: one has no netdev, and one's netdev is on eth1."""
    node.add_nic(ALLOWED, "eth2", ["192.0.2.1/24"])
    node.add_function(VFIO)
    node.ip("link add top link eth1 type macvlan mode bridge")
    node.add_function(ON_ETH1, driver="ionic")
    node.sysfs.learn(node.sysfs.function(ON_ETH1) / "net", "top")
    node.add_nic(FORGOTTEN, "eth5", ["192.0.3.1/24"])
    return BDF, ALLOWED, VFIO, ON_ETH1, FORGOTTEN


def denied(listed: dict[str, Any]) -> str | None:
    """What a NIC and its netdevs, none or one, say with one voice."""
    said: str | None = listed["denied"]
    assert [each["denied"] for each in listed["netdevs"]] == [said] * len(listed["netdevs"])
    return said


def refusals(runtime: Runtime, pod: Pod, addresses: tuple[str, ...]) -> dict[str, str | None]:
    """Why the policy refuses an ADD of each NIC; None if it succeeds."""
    found = {}
    for address in addresses:
        calls = runtime.having("pciBusID", deviceID=address)
        outcome = calls.add(pod)
        if not outcome.succeeded:
            assert outcome.answer["code"] == 103, outcome
        found[address] = None if outcome.succeeded else outcome.answer["msg"]
        calls.delete(pod)
    return found


@by_delegate
def test_devices_lists_a_nic_as_denied_exactly_if_an_add_is_and_for_the_same_reason(
    runtime: Runtime, node: Node, pod: Pod, five: tuple[str, ...]
) -> None:
    policy = write_policy(node, {"lending": RULES})
    first = f"rule 1 of {POLICY} denies ifname eth1 (management)"
    expected = {
        BDF: ("eth1", first),
        ALLOWED: None,
        VFIO: (VFIO, f"rule 2 of {POLICY} denies driver vfio*"),
        ON_ETH1: ("top", f"it rests on eth1, and {first}"),
        FORGOTTEN: ("eth5", f"no rule of {POLICY} allows it"),
    }
    listed = devices(node)
    assert {a: denied(listed[a]) for a in five} == {a: e and e[1] for a, e in expected.items()}
    assert refusals(runtime, pod, five) == {
        address: each and f"{each[0]} is not lent: {each[1]}" for address, each in expected.items()
    }
    shown = " ".join(table(node).split())
    for words in ("denied by rule 1", "denied by rule 2", "denied: no rule allows it"):
        assert words in shown
    assert f"{POLICY}" not in shown
    policy.write_text("{")
    said = {denied(each) for each in devices(node).values()}
    (why,) = said
    assert str(why).startswith(f"{TORN}the policy is not JSON")
    assert {
        str(each).partition(" is not lent: ")[2] for each in refusals(runtime, pod, five).values()
    } == said
    assert table(node).splitlines()[-1] == f"{why}; see amdcni doctor."
    assert table(node).count("denied: the policy cannot be used") == len(five)


@by_delegate
def test_a_nic_that_a_pod_has_is_judged_by_the_name_that_comes_back(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    policy = write_policy(
        node, {"lending": {"rules": [{"allow": {"ifname": "eth1"}}], "otherwise": "deny"}}
    )
    assert devices(node)[BDF]["denied"] is None
    policy.write_text(json.dumps({"lending": RULES}))
    assert "management" in devices(node)[BDF]["denied"]
    assert "denied by rule 1" in table(node)


def test_a_policy_that_only_root_may_read_is_said_to_be_unknown_to_others(
    node: Node, nic: Nic, setup: list[str], tmp_path: Path
) -> None:
    write_policy(node, "{").chmod(0)
    assert devices(node, privileged=False)[BDF]["denied"] is None
    assert f"only root may read {POLICY}." in table(node, privileged=False)
    found = doctor(node, *setup, privileged=False, status=1)
    assert [each["verdict"] for each in found if each["subject"] == "policy"] == ["not known"]
    config = {"cniVersion": "1.0.0", "type": "amd-host-device", "device": "eth1"}
    words = ["explain", objects(tmp_path, **config), "--device", BDF]
    assert run_amdcni(node, *words, privileged=False).returncode == 0
    planned = run_amdcni(node, *words, "--plan", privileged=False)
    assert planned.returncode == 1
    assert f"It would be refused: only root may read {POLICY}; " in planned.stdout.decode()


# ---- doctor


def test_doctor_counts_what_the_policy_leaves_to_lend(
    node: Node, five: tuple[str, ...], setup: list[str]
) -> None:
    write_policy(node, {"lending": RULES})
    (said,) = [each["says"] for each in doctor(node, *setup) if each["subject"] == "policy"]
    assert said == f"{POLICY} has 3 rules; 1 of {len(five)} NICs may be lent"


def by_text(file: Path) -> None:
    file.write_text("{")


def by_key(file: Path) -> None:
    file.write_text('{"lendings": {}}')


def by_owner(file: Path) -> None:
    file.parent.chmod(0o777)


def by_mode(file: Path) -> None:
    file.chmod(0o666)


@pytest.mark.parametrize(
    ("damage_by", "words"),
    [
        (by_text, "is not JSON"),
        (by_key, "the unknown key 'lendings'"),
        (by_owner, "'/etc/amdcni' can be written by everybody"),
        (by_mode, "can be written by everybody"),
    ],
)
def test_doctor_says_why_a_policy_cannot_be_used(
    node: Node, setup: list[str], damage_by: Callable[[Path], None], words: str
) -> None:
    damage_by(write_policy(node, {"naming": "any"}))
    ((subject, said),) = failures(node, *setup)
    assert subject == "policy"
    assert said.startswith(TORN)
    assert words in said


def test_doctor_finds_what_the_policy_does_not_let_definitions_say(
    node: Node, setup: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "fabric.yaml"
    file.write_text(manifest(device="eth1", dataDir="/srv/amdcni", logFile="/srv/log"))
    ((subject, said),) = failures(node, *setup, str(file))
    assert subject == "networks"
    assert "spec.config: dataDir '/srv/amdcni' is in no folder" in said
    assert "; logFile '/srv/log' is in no folder" in said
    policy = write_policy(node, {"folders": ["/srv"]})
    assert {each["verdict"] for each in doctor(node, *setup, str(file))} == {"passed"}
    policy.write_text(json.dumps({"folders": ["/srv"], "naming": "allocated"}))
    (about, said), other = failures(node, *setup, str(file))
    assert about == "policy"
    assert said.startswith(f"{CHECKPOINT} cannot be read, so nothing is lent")
    assert "a definition may not name a device by device: " in other[1]
    write_checkpoint(node, {})
    (found,) = failures(node, *setup, str(file))
    assert found == other


def test_doctor_finds_a_state_folder_that_others_could_exchange(
    node: Node, setup: list[str]
) -> None:
    (node.root / "var/lib/cni").chmod(0o777)
    ((subject, said),) = failures(node, *setup)
    assert subject == "state folder"
    assert "cannot be used safely: '/var/lib/cni' can be written by everybody" in said


def write_checkpoint(node: Node, devices: dict[str, str]) -> None:
    """Let the kubelet of the node have allocated a device to each pod, by its UID."""
    file = node.cover("/var/lib") / CHECKPOINT.removeprefix("/var/lib/")
    file.parent.mkdir(parents=True)
    entries = [
        {"PodUID": uid, "ResourceName": "amd.com/nic", "DeviceIDs": {"0": [device]}}
        for uid, device in devices.items()
    ]
    file.write_text(json.dumps({"Data": {"PodDeviceEntries": entries}}))


# ---- explain


def objects(tmp_path: Path, **config: Any) -> str:
    """The path of a file with a pod, and the definition that it selects."""
    pod = {
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "annotations": {"k8s.v1.cni.cncf.io/networks": "fabric"},
        },
    }
    definition = {
        "kind": "NetworkAttachmentDefinition",
        "metadata": {
            "name": "fabric",
            "annotations": {"k8s.v1.cni.cncf.io/resourceName": "amd.com/nic"},
        },
        "spec": {"config": json.dumps({"name": "fabric", **config})},
    }
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"kind": "List", "items": [pod, definition]}))
    return str(file)


def explained(node: Node, file: str, *words: str) -> str | None:
    """Why the only call would be refused; the same is printed for people."""
    words = ("explain", file, "--device", BDF, "--cni-path", "/usr/lib/cni", *words)
    status, found = ask(node, *words)
    ((call,),) = (network["calls"] for network in found["networks"])
    refused: str | None = call["refused"]
    assert (status == 0) == (refused is None)
    if refused is not None:
        assert f"It would be refused: {refused}\n" in run_amdcni(node, *words).stdout.decode()
    return refused


@by_delegate
def test_explain_refuses_what_an_add_refuses_in_the_same_words(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    policy = write_policy(node, {"naming": "allocated"})
    config = {"cniVersion": "1.0.0", "type": "amd-host-device", "mover": "delegate"}
    before = dump(node)
    for keys in ({"dataDir": "/srv/a"}, {"device": "eth1"}):
        refused = explained(node, objects(tmp_path, **config, **keys))
        assert refused is not None
        assert refused == runtime.having(**keys).add(pod).answer["msg"]
    plain = objects(tmp_path, **config)
    assert explained(node, plain, "--plan") is None
    policy.write_text(json.dumps({"lending": RULES}))
    assert explained(node, plain) is None
    assert explained(node, plain, "--plan") == runtime.add(pod).answer["msg"]
    exposed = {"folders": ["/tmp"]}
    policy.write_text(json.dumps(exposed))
    insecure = objects(tmp_path, **config, dataDir="/tmp/a/state")
    assert explained(node, insecure) is None
    refused = explained(node, insecure, "--plan")
    assert refused == runtime.having(dataDir="/tmp/a/state").add(pod).answer["msg"]
    assert "cannot be used safely" in str(refused)
    assert damage(before, node) == []


def test_explain_goes_by_the_allocation_that_it_is_given_and_not_by_the_checkpoint(
    node: Node, nic: Nic, tmp_path: Path
) -> None:
    write_policy(node, {"naming": "allocated"})
    config = {"cniVersion": "1.0.0", "type": "amd-host-device", "mover": "native"}
    write_checkpoint(node, {"uid-1": ALLOWED})
    assert explained(node, objects(tmp_path, **config), "--plan") is None
