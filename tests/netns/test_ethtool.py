"""What a pod sets with `ethtool` ends with the pod: the host has its NIC as it was."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdcni.testing import (
    Namespace,
    Nic,
    Pod,
    Section,
    differences,
    dump,
    skip_reason,
    throwaway_node,
)
from amdcni.testing.dumps import Subject, Value
from amdcni.testing.strategies import EthtoolChanges, change_ethtool, ethtool_changes
from tests.netns.command import output_of_amdcni, run_amdcni
from tests.netns.runtime import (
    BDF,
    Runtime,
    by_both,
    damage,
    expect_silence,
    natively,
    record_of,
    remains,
)

OF_A_VETH = (
    ("feature", "tx-tcp-segmentation", "off"),
    ("feature", "rx-gro", "on"),
    ("feature", "tx-scatter-gather", "off"),
    ("channels", "rx", "2"),
    ("channels", "tx", "2"),
)
"""What differs from how a veth is made."""


def settings_of(where: Namespace, ifname: str) -> Mapping[str, Value]:
    """Return the settings of a netdev by kind and name."""
    return dump(where).subjects[Subject(Section.ETHTOOL, ifname)]


@by_both
@pytest.mark.parametrize(("kind", "name", "value"), OF_A_VETH)
def test_what_a_pod_sets_is_undone_by_del(
    runtime: Runtime, nic: Nic, pod: Pod, kind: str, name: str, value: str
) -> None:
    before = dump(runtime.node)
    runtime.added(pod)
    in_pod = dump(pod)
    pod.ethtool("net1", kind, name, value)
    assert differences(in_pod, dump(pod)) != []
    expect_silence(runtime.delete(pod))
    assert damage(before, runtime.node) == []


@natively
@pytest.mark.parametrize(("kind", "name", "value"), OF_A_VETH)
def test_what_the_host_has_set_and_a_pod_undone_is_set_again_by_healing(
    runtime: Runtime, nic: Nic, pod: Pod, kind: str, name: str, value: str
) -> None:
    node = runtime.node
    usual = settings_of(node, "eth1")[f"{kind} {name}"]
    node.ethtool("eth1", kind, name, value)
    before = dump(node)
    runtime.added(pod)
    pod.ethtool("net1", kind, name, usual)
    pod.delete()
    (finding,) = json.loads(run_amdcni(node, "heal", "--json").stdout)
    assert finding["healed"]
    assert damage(before, node) == []
    assert remains(node) == []


@natively
def test_a_record_from_before_there_were_settings_leaves_them_alone(
    runtime: Runtime, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    pod.ethtool("net1", "channels", "rx", 2)
    path = record_of(runtime.node)
    record = json.loads(path.read_text())
    del record["captured"]["ethtool"]
    path.write_text(json.dumps(record))
    expect_silence(runtime.delete(pod))
    assert settings_of(runtime.node, "eth1")["channels rx"] == "2"


@natively
def test_the_plan_of_an_add_says_what_is_kept_in_a_line_for_each_group(
    runtime: Runtime, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    said = output_of_amdcni(runtime.node, "attachments", "show", BDF)
    assert "channels: rx 1, tx 1" in said
    assert "features: " in said


@settings(max_examples=settings().max_examples // 2)
@given(
    host=ethtool_changes,
    meddled=ethtool_changes,
    dies=st.booleans(),
    mover=st.sampled_from(["delegate", "native"]),
)
def test_whatever_host_and_pod_set_the_host_has_what_it_had(
    plugin: Path, host: EthtoolChanges, meddled: EthtoolChanges, dies: bool, mover: str
) -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    with throwaway_node() as node:
        node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"])
        change_ethtool(node, "eth1", host)
        ours = Runtime(node, plugin).having(mover=mover)
        runtime, pod, before = ours, node.add_pod("pod1"), dump(node)
        runtime.added(pod)
        change_ethtool(pod, "net1", meddled)
        if dies:
            pod.delete()
        runtime.delete(pod)
        assert damage(before, node) == []
        assert remains(node) == []
