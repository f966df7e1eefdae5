"""Calls of real runtimes, replayed byte for byte: the same results, and the host is restored."""

import json
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Node, dump
from tests.netns.runtime import Runtime, damage, expect_silence
from tests.netns.warm import start_warm

RECORDINGS = sorted(
    path
    for path in (Path(__file__).parents[1] / "unit/data/runtime-inputs").glob("*.json")
    if path.name != "network-status.json"
)


def test_there_are_recordings_of_multus_and_cnitool() -> None:
    assert {path.stem.partition("-")[0] for path in RECORDINGS} == {"cnitool", "multus"}


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recorded_calls_get_the_same_results_and_leave_the_host_as_it_was(
    runtime: Runtime, node: Node, recording: Path
) -> None:
    node.add_nic("0000:01:00.0", "enp1s0", ["192.168.1.8/31", "2001:db8:1::8/64"])
    node.add_nic("0000:02:00.0", "enp2s0", ["192.168.2.8/31", "2001:db8:2::8/64"])
    before = dump(node)
    node.add_pod("pod1")
    calls = json.loads(recording.read_bytes())
    promised = promised_results(calls)
    for call in calls:
        env, stdin = call["env"], call["stdin"].encode()
        done = start_warm(node, [runtime.plugin], stdin=stdin, env=env).wait()
        assert (done.exit_status, done.stderr) == (0, ""), done
        if env["CNI_COMMAND"] != "ADD":
            assert done.stdout == b""
            continue
        result = json.loads(done.stdout)
        assert result["cniVersion"] == (json.loads(stdin)["cniVersion"] or "0.1.0")
        was = promised.get(env["CNI_IFNAME"])
        if was is not None:
            assert without(result, "mac", "mtu", "pciID") == without(was, "mac")
    assert damage(before, node) == []


def promised_results(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the recorded results by ifname, if the runtime sent them back.

    Routes are left out: they are from the pod's annotation for Multus, not from the plugin.
    """
    configs = [(call["env"]["CNI_IFNAME"], json.loads(call["stdin"])) for call in calls]
    return {
        ifname: {key: value for key, value in config["prevResult"].items() if key != "routes"}
        for ifname, config in configs
        if "prevResult" in config
    }


def without(result: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a result whose interfaces lack some keys."""
    interfaces = [
        {key: value for key, value in interface.items() if key not in keys}
        for interface in result["interfaces"]
    ]
    return {**result, "interfaces": interfaces}


def test_a_del_can_be_repeated(runtime: Runtime, node: Node) -> None:
    node.add_nic("0000:01:00.0", "enp1s0", ["192.168.1.8/31"])
    pod = node.add_pod("pod1")
    before = dump(node)
    lent = runtime.having(deviceID="0000:01:00.0", pciBusID="0000:01:00.0")
    lent.added(pod)
    for _ in range(3):
        expect_silence(lent.delete(pod))
    assert damage(before, node) == []
