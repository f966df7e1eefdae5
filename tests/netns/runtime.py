"""As much of a container runtime as these tests need, and what must hold after its calls."""

import json
import os
import resource
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any, Unpack

import pytest
from attrs import evolve, field, frozen

from amdcni.testing import CallOptions, Dump, Namespace, Node, Outcome, Pod, differences, dump
from amdcni.testing.cni import environment_of
from amdcni.testing.readings import read
from tests.netns.killed import KILLED_AT
from tests.netns.warm import AnyCall, Moment, Preparation, WarmCall, start_warm, to_die

BDF = "0000:c1:00.0"
STATE = "/var/lib/cni/amd-host-device"
LEASES = "/var/lib/cni/networks"
DEBIAN = Path("/usr/lib/cni")
"""Where Debian installs the plugins of the CNI project."""

CONFIG = {
    "cniVersion": "1.1.0",
    "name": "fabric",
    "type": "amd-host-device",
    "deviceID": BDF,
    "pciBusID": BDF,
}
"""The configuration that Multus derives from the NAD in AMD's integration document."""
TRY_AGAIN = 11
OURS = Path(sysconfig.get_path("scripts"), "amd-host-device")
"""The executable under test, as `make` has installed it."""
STATIC = OURS.with_name("amd-host-device-static")
"""The launcher in C, as `make launcher` has built it."""
ABOUT_THE_START = {"env", "unset", "uid", "privileged", "through"}
"""Options with which an executable is started indeed; see `warm.py`."""

by_both = pytest.mark.parametrize("mover", ["delegate", "native"], indirect=True)
"""For tests that `make test`, too, runs with both movers.  The others are about what is the same
code for both, and about laws that the unit tests have for both."""
by_delegate = pytest.mark.parametrize("mover", ["delegate"], indirect=True)
"""For tests of what the delegate does, or of what does not depend on the mover."""
natively = pytest.mark.parametrize("mover", ["native"], indirect=True)
"""For tests of what only the mover `native` does."""


@frozen
class Runtime:
    """Calls the plugin under test on a node with a network configuration, or verbatim bytes."""

    node: Node
    plugin: Path
    config: dict[str, Any] = field(factory=CONFIG.copy)
    stdin: bytes | None = None
    before: Preparation | None = None
    """What the process of a call does before it becomes the executable; see `warm.py`."""

    def having(self, *without: str, **keys: object) -> "Runtime":
        """Return a runtime whose configuration has other keys."""
        kept = {key: value for key, value in self.config.items() if key not in without}
        return evolve(self, config={**kept, **keys})

    def slim(self) -> "Runtime":
        """Return a runtime whose calls get no more than a gibibyte of memory."""
        return evolve(self, before=(__name__, limit_memory.__name__, ()))

    def start(self, command: str, **options: Unpack[CallOptions]) -> AnyCall:
        """Start a call; see `CallOptions`."""
        if self.plugin != OURS or options.keys() & ABOUT_THE_START:
            return self.node.start_cni(command, self.plugin, self._input(), **options)
        return self._start_warm(command, options, self.before)

    def start_to_die(self, at: Moment, command: str, **options: Unpack[CallOptions]) -> WarmCall:
        """Start a call that is killed at a moment unless it ends before; see `killed.py`."""
        return self._start_warm(command, options, to_die(at))

    def start_whose_worker_dies(
        self, at: Moment, command: str, **options: Unpack[CallOptions]
    ) -> WarmCall:
        """Start a call through an agent whose worker is killed at a moment; see `agents.py`."""
        env = {**environment_of(command, options), KILLED_AT: f"{at[0]} {at[1]}"}
        return start_warm(self.node, [self.plugin], stdin=self._input(), env=env)

    def _start_warm(
        self, command: str, options: CallOptions, before: Preparation | None = None
    ) -> WarmCall:
        env = environment_of(command, options)
        return start_warm(self.node, [self.plugin], stdin=self._input(), env=env, before=before)

    def _input(self) -> bytes:
        return json.dumps(self.config).encode() if self.stdin is None else self.stdin

    def call(self, command: str, **options: Unpack[CallOptions]) -> Outcome:
        """Return the outcome of any verb."""
        return self.start(command, **options).wait()

    def add(self, pod: Pod | str, **options: Unpack[CallOptions]) -> Outcome:
        """Return the outcome of ADD."""
        options["netns"] = pod
        return self.call("ADD", **options)

    def added(self, pod: Pod | str, **options: Unpack[CallOptions]) -> Any:
        """Return the result of an ADD that must succeed."""
        outcome = self.add(pod, **options)
        assert outcome.succeeded, outcome
        return outcome.answer

    def delete(self, pod: Pod | str | None, **options: Unpack[CallOptions]) -> Outcome:
        """Return the outcome of DEL."""
        options["netns"] = pod
        return self.call("DEL", **options)

    def check(self, pod: Pod | str, result: Any, **options: Unpack[CallOptions]) -> Outcome:
        """Return the outcome of CHECK after an ADD that gave `result`."""
        options["netns"] = pod
        return self.having(prevResult=result).call("CHECK", **options)


def limit_memory() -> None:
    """Let this process have no more than a gibibyte of memory."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def damage(before: Dump, node: Node) -> list[str]:
    """Return what differs from before on the host, and what state and leases are left."""
    left = [f"{path} is left" for path in remains(node)]
    return [*lasting_differences(before, node), *left]


def lasting_differences(before: Dump, node: Node) -> list[str]:
    """Return what differs from before once nothing changes by itself any more."""
    now, pending = read(node)
    return [] if now == before and not pending else differences(before, dump(node))


def remains(node: Node) -> list[str]:
    """Return the files below /var/lib/cni that belong to an attachment or were not cleaned up.

    Lock files stay by design, and so does what host-local keeps about its last lease.
    """
    root = node.root / "var/lib/cni"
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root)
            if "/locks/" not in path and name != "lock" and "last_reserved_ip" not in name:
                found.append(path)
    return sorted(found)


def state_folder(node: Node) -> Path:
    """Return the default state folder, as a test sees it."""
    return node.root / STATE.lstrip("/")


def record_of(node: Node, device: str = BDF) -> Path:
    """Return the path of a device's record, as a test sees it."""
    return state_folder(node) / f"{device}.json"


def records(node: Node) -> dict[str, Any]:
    """Return the records by file name, without those that go meanwhile; all must be JSON."""
    found = {}
    for path in state_folder(node).glob("*.json"):
        with suppress(FileNotFoundError):
            found[path.name] = json.loads(path.read_bytes())
    return found


def fill_disk(filler: Path) -> None:
    """Let a file take all the space that is left on its disk."""
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def addresses(where: Namespace, ifname: str = "net1") -> list[str]:
    """Return the addresses of a netdev with their prefix lengths, without IPv6 link-local ones."""
    (link,) = where.ip_json(f"address show dev {ifname}")
    return [
        f"{entry['local']}/{entry['prefixlen']}"
        for entry in link["addr_info"]
        if not entry["local"].startswith("fe80:")
    ]


def ifnames(where: Namespace) -> set[str]:
    """Return the names of the netdevs besides the loopback."""
    return {link["ifname"] for link in where.ip_json("link show")} - {"lo"}


def expect_silence(outcome: Outcome) -> None:
    """Require that the outcome is a success without any output or log line."""
    assert (outcome.exit_status, outcome.stdout, outcome.stderr) == (0, b"", ""), outcome


def plugin_folder(folder: Path, **scripts: str) -> Path:
    """Make a folder with Debian's plugins; shell scripts are added or replace some of them.

    An underscore in the name of a script stands for a hyphen.
    """
    folder.mkdir()
    for plugin in ("host-device", "static", "host-local"):
        (folder / plugin).symlink_to(DEBIAN / plugin)
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return folder


def hide_plugins(node: Node) -> None:
    """Hide the node's CNI plugins in the folders that are searched without CNI_PATH."""
    for folder in ("/opt/cni/bin", "/var/lib/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"):
        if (node.root / folder.lstrip("/")).is_dir():
            node.cover(folder)
