"""`amdcni doctor` says what an ADD lacks on a node, and what to do."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Nic, Node, Pod, differences, dump
from tests.netns.agents import agent_on
from tests.netns.command import AMDCNI, run_amdcni
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    STATE,
    Runtime,
    by_delegate,
    plugin_folder,
    record_of,
    remains,
)

OTHER = "0000:c2:00.0"
NOBODY = 65534


@pytest.fixture
def setup(tmp_path: Path, plugin: Path) -> list[str]:
    """The options for a node on which Multus and all plugins are set up correctly."""
    bin_dir = plugin_folder(tmp_path / "bin")
    (bin_dir / "amd-host-device").symlink_to(plugin)
    conf_dir = tmp_path / "net.d"
    conf_dir.mkdir()
    multus = {"name": "multus", "type": "multus", "binDir": str(bin_dir)}
    (conf_dir / "00-multus.conf").write_text(json.dumps(multus))
    return ["--cni-conf-dir", str(conf_dir)]


def doctor(
    node: Node, *options: str, status: int = 0, privileged: bool = True
) -> list[dict[str, Any]]:
    """Return what `amdcni doctor --json` finds."""
    done = run_amdcni(node, "doctor", "--json", *options, privileged=privileged)
    assert (done.returncode, done.stderr) == (status, b""), done
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert all((each["remedy"] is None) == (each["verdict"] == "passed") for each in found)
    return found


def failures(node: Node, *options: str) -> list[tuple[str, str]]:
    """Return the subject of each failure, and what is said about it with the remedy."""
    return [
        (each["subject"], f"{each['says']} {each['remedy']}")
        for each in doctor(node, *options, status=1)
        if each["verdict"] == "failed"
    ]


def test_a_node_that_has_everything_passes(node: Node, nic: Nic, setup: list[str]) -> None:
    found = doctor(node, *setup)
    assert {each["verdict"] for each in found} == {"passed"}
    subjects = {each["subject"] for each in found}
    assert subjects == {
        *(
            "privileges",
            "sysfs",
            "NICs",
            "policy",
            "Multus",
            "plugins",
            "agent",
            "state folder",
            "records",
        )
    }
    said = " ".join(each["says"] for each in found)
    assert f"NICs of AMD: {BDF}" in said
    assert "/bin/static supports CNI" in said


def test_all_that_an_empty_node_lacks_is_listed_in_lines_that_can_be_copied(
    node: Node, tmp_path: Path
) -> None:
    empty = ["--bin-dir", str(tmp_path), "--cni-conf-dir", str(tmp_path)]
    done = run_amdcni(node, "doctor", *empty)
    said = done.stdout.decode()
    assert (done.returncode, done.stderr) == (1, b""), done
    assert f"ln -s {AMDCNI.parent}/amd-host-device {tmp_path}/amd-host-device\n" in said
    assert "no NIC on a bus" in said
    assert "2 failed" in said.splitlines()[-1]


def test_the_agent_is_looked_for_and_its_absence_is_no_failure(
    node: Node, setup: list[str]
) -> None:
    def said() -> str:
        (found,) = (each for each in doctor(node, *setup) if each["subject"] == "agent")
        return str(found["says"])

    assert "does not serve" in said()
    assert "systemctl start amdcni-agent" in said()
    with agent_on(node) as agent:
        assert said() == f"the agent serves (process {agent.pid})"
        os.kill(agent.pid, signal.SIGSTOP)
        for command, status in (("doctor", 1), ("status", 3)):
            done = run_amdcni(node, command, *setup)
            words = " ".join(done.stdout.decode().split())
            assert done.returncode == status, done
            assert f"he agent (process {agent.pid}) does not answer" in words
            assert "systemctl restart amdcni-agent" in words
        os.kill(agent.pid, signal.SIGCONT)


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_reader_that_closes_the_pipe_causes_no_traceback(node: Node, options: str) -> None:
    piped = node.run(["sh", "-c", f"{AMDCNI} doctor {options} | true"])
    assert piped.stderr == b""


def test_what_cannot_be_read_is_reported_as_not_known(
    node: Node, setup: list[str], tmp_path: Path
) -> None:
    for folder in (tmp_path / "bin", tmp_path / "net.d", node.cover("/var/lib/cni")):
        folder.chmod(0)
    setup += ["--bin-dir", str(tmp_path / "bin")]
    found = doctor(node, *setup, privileged=False, status=1)
    unknown = {each["subject"] for each in found if each["verdict"] == "not known"}
    assert unknown == {"Multus", "plugins", "records"}
    assert ("NICs", "passed") in {(each["subject"], each["verdict"]) for each in found}


def test_not_being_root_is_not_a_failure(node: Node) -> None:
    if node.isolation.user_namespace or node.run([str(AMDCNI), "--help"], uid=NOBODY).returncode:
        pytest.skip("nobody but root can execute amdcni here")
    done = node.run([str(AMDCNI), "doctor", "--json"], uid=NOBODY)
    assert done.stderr == b""
    about = {each["subject"]: each["verdict"] for each in json.loads(done.stdout)}
    for subject in ("privileges", "state folder"):
        assert about[subject] == "not known"


@by_delegate
def test_what_needs_an_operator_fails_and_nothing_is_changed(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, setup: list[str]
) -> None:
    runtime.added(pod)
    assert doctor(node, *setup)[-1]["says"].endswith("the pod has it")
    pod.delete()
    node.add_nic(OTHER, "dev7", up=False)
    damaged = record_of(node, "0000:c3:00.0")
    damaged.write_text("{")
    before = dump(node), remains(node)
    lost, broken, stale = failures(node, *setup)
    assert lost[0] == "NICs"
    assert OTHER in lost[1]
    assert damaged.name in broken[1]
    assert "amdcni heal" in stale[1]
    damaged.write_text(json.dumps({"format": 99}))
    assert "install the newer version" in failures(node, *setup)[1][1]
    damaged.write_text("{")
    assert differences(before[0], dump(node)) == []
    assert remains(node) == before[1]


def test_the_state_folders_of_the_definitions_are_examined_too(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, setup: list[str], tmp_path: Path
) -> None:
    folder = f"{STATE}-fabric"
    file = tmp_path / "fabric.yaml"
    file.write_text(manifest(dataDir=folder))
    runtime.having(dataDir=folder).added(pod)
    pod.delete()
    for files in ((), (str(file),)):
        ((subject, said),) = failures(node, *setup, *files)
        assert subject == "records"
        assert f"amdcni heal --data-dir {folder}" in said
        said = " ".join(each["says"] for each in doctor(node, *setup, *files, status=1))
        assert f"{folder} can be written" in said
    there = node.root / folder.lstrip("/")
    there.rename(there.with_name("away"))
    faults = dict(failures(node, *setup))
    assert f"{folder} held records" in faults["state folder"]


def test_definitions_and_their_plugins_are_checked_and_faults_have_paths(
    node: Node, setup: list[str], tmp_path: Path
) -> None:
    good, bad, broken = (tmp_path / name for name in ("good.yaml", "bad.yaml", "broken.yaml"))
    good.write_text(manifest(ipam={"type": "whereabouts"}))
    bad.write_text(manifest(mover="native", mtu="large").replace("resourceName", "resource"))
    broken.write_text("kind: [")
    faults = failures(node, *setup, str(good), str(bad), str(broken))
    assert [subject for subject, _ in faults] == ["plugins", "networks", "networks", "networks"]
    for (_, said), words in zip(
        faults, ("whereabouts", "resourceName", "$.mtu", "broken.yaml, line"), strict=True
    ):
        assert words in said


def test_plugins_that_multus_executes_must_be_where_it_looks(
    node: Node, setup: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "list.yaml"
    file.write_text(manifest(plugins=[{"type": "amd-host-device"}, {"type": "sbr"}]))
    ((subject, said),) = failures(node, *setup, str(file))
    assert subject == "plugins"
    assert f"sbr is not in {tmp_path}/bin " in said
    (tmp_path / "bin/sbr").symlink_to(DEBIAN / "sbr")
    assert {each["verdict"] for each in doctor(node, *setup, str(file))} == {"passed"}


def manifest(**config: Any) -> str:
    """Return a definition as YAML, after another object."""
    kind = {} if "plugins" in config else {"type": "amd-host-device"}
    config = {"cniVersion": "1.0.0", **kind, **config}
    return f"""
kind: Pod
metadata: {{name: workload}}
---
kind: NetworkAttachmentDefinition
metadata:
  name: fabric
  annotations: {{k8s.v1.cni.cncf.io/resourceName: amd.com/nic}}
spec:
  config: '{json.dumps(config)}'
"""
