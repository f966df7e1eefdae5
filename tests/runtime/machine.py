"""A throwaway node that also has processes of its own, an init and cgroups.

It is made of one of the kit, with another mount namespace within: the node's /proc shows the
node's processes there, and the kit's own programs still see the machine's.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import field, frozen

from amdcni.testing import Node
from amdcni.testing.namespaces import PLAIN_ENVIRONMENT, Namespace, StrPath
from tests.debian import NotHere
from tests.patience import is_alive, wait_until

_CGROUPS = "/sys/fs/cgroup"
_INIT = Path(__file__).with_name("init.py")


@frozen
class Process:
    """A process of the node, by its number outside."""

    pid: int
    entering: "subprocess.Popen[bytes]" = field(repr=False)
    """What entered the node's namespaces and waits for it."""
    log: Path

    @property
    def number(self) -> int:
        """Its process ID on the node."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (numbers,) = re.findall(r"^NSpid:(.*)$", status, re.MULTILINE)
        return int(numbers.split()[-1])

    def is_alive(self) -> bool:
        """Return whether it is at work."""
        return is_alive(self.pid)

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        if number == signal.SIGCONT:
            # nsenter stops when its child does.
            self.entering.send_signal(number)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.send(signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """End it in good order, and wait until it is gone."""
        self.send(signal.SIGTERM)
        self.wait()

    def wait(self) -> int:
        """Return its exit status when it has ended."""
        wait_until(lambda: self.entering.poll() is not None, f"{self.log.name} has ended")
        return self.entering.returncode


@frozen
class Machine:
    """A node with an init, whose process ID outside is `pid`."""

    node: Node
    pid: int
    logs: Path
    """The folder, on both sides, in which the output of each started program is."""
    _entering: "list[subprocess.Popen[bytes]]" = field(factory=list, init=False, repr=False)

    @property
    def root(self) -> Path:
        """The root folder as the node's processes see it; absolute symbolic links lead out."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def inside(self) -> Namespace:
        """The host's side of the node, among its processes."""
        return self.namespace("net")

    def namespace(self, network: str) -> Namespace:
        """Return a network namespace, among the node's processes.

        It is named by the path of a file on the node, or `net` is the host's own.
        """
        ours = f"/proc/{self.pid}/ns"
        path = f"{ours}/net" if network == "net" else f"{self.root}{network}"
        entry = ("nsenter", f"--mount={ours}/mnt", f"--net={path}", f"--pid={ours}/pid", "--")
        return Namespace(entry)

    def start(
        self, name: str, argv: Sequence[StrPath], env: Mapping[str, str] = PLAIN_ENVIRONMENT
    ) -> Process:
        """Start a program on the host's side; `name` is that of its log."""
        log = self.logs / f"{name}.log"
        with log.open("ab") as output:
            entering = subprocess.Popen(
                [*self.inside.entry, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(env),
                start_new_session=True,
            )
        self._entering.append(entering)
        wait_until(lambda: children_of(entering.pid) or entering.poll() is not None, f"{name} runs")
        (pid,) = children_of(entering.pid) or [entering.pid]
        return Process(pid, entering, log)

    def end(self) -> None:
        """Wait for the end of what entered the node, which ends with its init."""
        for entering in self._entering:
            entering.wait()

    def processes(self, *words: str) -> list[int]:
        """Return the processes, besides init, whose command line contains these words."""
        ours = os.readlink(f"/proc/{self.pid}/ns/pid")
        return [
            pid
            for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
            if pid != self.pid and _pid_namespace_of(pid) == ours and _mentions(pid, words)
        ]


@contextmanager
def machine_of(node: Node, logs: Path) -> Iterator[Machine]:
    """Give a throwaway node processes of its own until the end of the `with`.

    Raises:
        NotHere: this computer does not allow it.
    """
    unshare = ["unshare", "--pid", "--fork", "--mount", "--propagation=private"]
    python = [sys.executable, "-I", "-S", str(_INIT), json.dumps(_file_systems())]
    unsharing = subprocess.Popen(
        [*node.entry, *unshare, *python],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(PLAIN_ENVIRONMENT),
        start_new_session=True,
    )
    with unsharing:
        assert unsharing.stdin is not None
        assert unsharing.stdout is not None
        assert unsharing.stderr is not None
        if unsharing.stdout.readline() != b"ready\n":
            said = unsharing.stderr.read().decode().strip()
            raise NotHere(f"no processes of a node's own here: {said}")
        (pid,) = children_of(unsharing.pid)
        machine = Machine(node, pid, logs)
        try:
            yield machine
        finally:
            unsharing.stdin.close()
            unsharing.wait()
            machine.end()


def children_of(pid: int) -> list[int]:
    """Return the children of a process, none if it is gone."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def remove_cgroup(name: str) -> None:
    """Remove a cgroup of this computer, which no process is in any more, in every hierarchy."""
    tops = [Path(folder, name) for _, folder, _ in _file_systems()]
    for top in filter(Path.is_dir, tops):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)


def _file_systems() -> list[tuple[str, str, str]]:
    """Return the file systems that init mounts: /proc, and the cgroups of this computer."""
    found = [("proc", "/proc", "")]
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if re.match(rf"{_CGROUPS}(/|$)", folder) and kind in ("tmpfs", "cgroup", "cgroup2"):
            found.append((kind, folder, _hierarchy(kind, options)))
    return found


def _hierarchy(kind: str, options: str) -> str:
    """Return the options of a mount that say which hierarchy it is."""
    if kind != "cgroup":
        return "mode=755" if kind == "tmpfs" else ""
    general = {
        "rw",
        "ro",
        "nosuid",
        "nodev",
        "noexec",
        "relatime",
        "noatime",
        "xattr",
        "clone_children",
    }
    words = [
        word
        for word in options.split(",")
        if word not in general and not word.startswith("release_agent=")
    ]
    named = any(word.startswith("name=") for word in words)
    return ",".join(["none", *words] if named and len(words) == 1 else words)


def _pid_namespace_of(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def _mentions(pid: int, words: Sequence[str]) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return is_alive(pid) and all(word in line for word in words)
