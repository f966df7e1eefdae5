"""What is measured: a node with one NIC and a pod, and the calls of plugins there."""

import json
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from amdcni.testing import PLAIN_ENVIRONMENT, Nic, Node, Pod, ThrowawayError, throwaway_node

OURS: Final = Path(sysconfig.get_path("scripts")) / "amd-host-device"
TREE: Final = Path("dist/tree/bin/amd-host-device").absolute()
"""The same in the tree that `amdcni install` puts on nodes, with a Python of its own."""
THEIRS: Final = Path("/usr/lib/cni/host-device")
PYTHON: Final = Path(sysconfig.get_path("scripts")) / "python3"

_ADDRESSES: Final = ("192.168.1.8/31", "2001:db8:1::8/64")
_STOPWATCH: Final = Path(__file__).with_name("stopwatch.py")


@frozen
class Job:
    """A process to start: a program with its environment and its standard input."""

    argv: Sequence[str]
    env: Mapping[str, str] = PLAIN_ENVIRONMENT
    stdin: str = ""
    may_fail: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"argv": self.argv, "env": dict(self.env), "stdin": self.stdin}


@frozen
class Run:
    """What a process took, from its start until its parent had the exit status, and what it said.

    `cpu_s` includes its children.
    """

    wall_s: float
    cpu_s: float
    exit_status: int
    stdout: str
    stderr: str


@frozen
class Stage:
    """A node with a NIC that has the addresses, and a pod to lend it to."""

    node: Node
    nic: Nic
    pod: Pod

    def call(self, plugin: Path, command: str, config: Mapping[str, Any], **cni: str) -> Job:
        """The job to call a plugin; `cni` adds variables, or gives them other values."""
        env = {**self.environ(), "CNI_COMMAND": command, **cni}
        return Job([str(plugin)], env, json.dumps(config))

    def environ(self) -> dict[str, str]:
        """The variables of every call."""
        return {
            **PLAIN_ENVIRONMENT,
            "CNI_CONTAINERID": "container-1",
            "CNI_NETNS": self.pod.netns,
            "CNI_IFNAME": "net1",
            "CNI_PATH": str(THEIRS.parent),
        }

    def ours(self, version: str = "1.0.0", **keys: Any) -> dict[str, Any]:
        """The configuration for amd-host-device."""
        known = {"cniVersion": version, "name": "fabric", "type": OURS.name}
        return {**known, "deviceID": self.nic.bdf, "pciBusID": self.nic.bdf, **keys}

    def theirs(self) -> dict[str, Any]:
        """The configuration for host-device that has the same outcome, written by hand."""
        addresses = [{"address": address} for address in self.nic.addresses]
        addresses[0]["gateway"] = self.nic.peers[0]
        return {
            "cniVersion": "1.0.0",
            "name": "fabric",
            "type": THEIRS.name,
            "pciBusID": self.nic.bdf,
            "ipam": {"type": "static", "addresses": addresses},
        }

    def repair(self) -> list[Job]:
        """What an operator does after host-device has returned the NIC without its addresses."""
        commands = [f"link set {self.nic.ifname} up"]
        commands += [f"address add {words} dev {self.nic.ifname}" for words in self.nic.addresses]
        return [Job(["ip", *command.split()]) for command in commands]

    def run(self, jobs: Sequence[Job]) -> list[Run]:
        """Execute jobs inside the node, one after the other.

        Raises:
            ThrowawayError: one that must not fail has failed.
        """
        stopwatch = [sys.executable, "-I", "-S", str(_STOPWATCH)]
        text = json.dumps([job.to_json() for job in jobs])
        answers = json.loads(self.node.output_of(stopwatch, stdin=text.encode()))
        runs = [Run(**answer) for answer in answers]
        for job, run in zip(jobs, runs, strict=True):
            if run.exit_status != 0 and not job.may_fail:
                said = f"{run.stdout}{run.stderr}".strip()
                command = job.env.get("CNI_COMMAND", "")
                raise ThrowawayError(f"{job.argv} {command} ended with {run.exit_status}: {said}")
        return runs


@contextmanager
def stage() -> Iterator[Stage]:
    """Make the node, and remove it."""
    with throwaway_node() as node:
        nic = node.add_nic("0000:01:00.0", "enp1s0", _ADDRESSES)
        yield Stage(node, nic, node.add_pod("pod1"))
