"""The units of `deploy/systemd` are ones for systemd, and the agent works as they run it."""

import os
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from amdcni.testing import Nic, Node, Pod, dump
from amdcni_agent.asking import ask
from tests.netns.agents import socket_of
from tests.netns.command import AMDCNI
from tests.netns.runtime import Runtime, damage, expect_silence
from tests.patience import wait_until

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy/systemd").iterdir())
SCRIPT = Path(__file__).with_name("systemd.sh")
SYSTEMD = "/usr/lib/systemd/systemd"

COMMAND = "/opt/cni/bin/.amdcni/amdcni"
"""What the units execute, which need not be on this machine."""

TARGETS = {
    "sysinit.target": "[Unit]\nDefaultDependencies=no\n",
    "basic.target": "[Unit]\nDefaultDependencies=no\n",
    "network.target": "[Unit]\n",
    "shutdown.target": "[Unit]\nDefaultDependencies=no\n",
    "timers.target": "[Unit]\n",
    "node.target": "[Unit]\nDefaultDependencies=no\nWants=amdcni-agent.service\n",
}
"""All else that this systemd knows: nothing of the machine is started."""


def with_executable(path: Path, executable: str) -> str:
    text = path.read_text()
    assert path.suffix != ".service" or COMMAND in text
    return text.replace(COMMAND, executable)


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not on this machine")
    for path in UNITS:
        (tmp_path / path.name).write_text(with_executable(path, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *tmp_path.iterdir()], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


OWN_MOUNTS = re.compile(
    r"^(Protect(?!Clock)|Private|Root|Bind|ReadWrite|ReadOnly|Inaccessible|NoExec|Exec|Temporary|"
    r"Mount|Runtime|State|Cache|Logs|Configuration|Dynamic|ProcSubset)\w*="
    r"(?<!ExecStart=)(?<!RuntimeMaxSec=)",
    re.M,
)
"""Options that give a unit a mount namespace or a folder of its own, in systemd.exec(5)."""


@pytest.mark.parametrize("path", UNITS, ids=lambda path: str(path.name))
def test_a_unit_sees_the_files_and_the_network_of_the_host(path: Path) -> None:
    assert OWN_MOUNTS.findall(path.read_text()) == []
    assert OWN_MOUNTS.findall("PrivateTmp=yes\nProtectSystem=full\nRuntimeDirectory=a\n") != []


# ---- a real systemd


@frozen
class Systemd:
    """A systemd at work in the namespaces of a node, and what it said when it ended."""

    node: Node
    process: "subprocess.Popen[bytes]"

    def agent(self) -> int | None:
        """Return the agent's process, as it is called here, if the agent answers."""
        if ask(str(socket_of(self.node))) is None:
            return None
        (pid,) = (pid for pid in self._below(self.process.pid) if self._is_agent(pid))
        return pid

    def _below(self, pid: int) -> Iterator[int]:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from self._below(int(child))

    def _is_agent(self, pid: int) -> bool:
        status = Path(f"/proc/{pid}/status").read_text()
        (parent,) = re.findall(r"^PPid:\s+(\d+)$", status, re.M)
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return Path(f"/proc/{parent}/comm").read_text() == "systemd\n" and b"agent" in words


def new_group() -> tuple[str, Path]:
    """A control group of our own, for systemd to be the root of its own, and its hierarchy."""
    for kind, root in (("named", "/sys/fs/cgroup/systemd"), ("unified", "/sys/fs/cgroup")):
        if Path(root, "cgroup.procs").exists():
            group = Path(root, f"amdcni-test-{uuid.uuid4()}")
            try:
                group.mkdir()
            except OSError as error:
                pytest.skip(f"no control group can be made in {root}: {error.strerror}")
            return kind, group
    pytest.skip("no control groups for systemd are mounted")


def remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        wait_until(lambda folder=folder: removed(folder), f"{folder} is empty")  # type: ignore[misc]


def removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def systemd_on(node: Node, folder: Path) -> Iterator[Systemd]:
    """Run systemd on a node, with the units of the folder, until the end of the `with`."""
    if os.geteuid() != 0 or not Path(SYSTEMD).exists():
        pytest.skip("systemd is not on this machine, or only root can run it")
    kind, group = new_group()
    enter = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group)]
    # If this process is killed, nothing else ends what it has started.
    fatal = ["setpriv", "--pdeathsig", "KILL"]
    command: list[str | Path] = [*fatal, *enter, *node.entry, "sh", SCRIPT, kind, folder]
    log = folder.with_suffix(".log")
    try:
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            yield Systemd(node, process)
        except BaseException as error:
            error.add_note(log.read_text())
            raise
        finally:
            # Process 1 of a process namespace takes all others of it along.
            process.kill()
            process.wait()
    finally:
        remove(group)


@pytest.fixture
def systemd(node: Node, tmp_path: Path) -> Iterator[Systemd]:
    """A systemd that runs the unit of the agent; it is ready when the agent serves."""
    folder = tmp_path / "units"
    folder.mkdir()
    for name, text in TARGETS.items():
        (folder / name).write_text(text)
    for path in UNITS:
        (folder / path.name).write_text(with_executable(path, str(AMDCNI)))
    with systemd_on(node, folder) as running:
        wait_until(lambda: running.agent() or running.process.poll(), "the agent serves")
        yield running


def test_the_agent_serves_calls_as_the_unit_runs_it(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, systemd: Systemd
) -> None:
    before = dump(node)
    runtime.added(pod)
    about = ask(str(socket_of(node)))
    assert about is not None
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []
    after = ask(str(socket_of(node)))
    assert after is not None
    assert int(after["begun"]) > int(about["begun"]) > 0


def test_systemd_takes_from_the_agent_what_the_unit_says(systemd: Systemd) -> None:
    pid = systemd.agent()
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    bounds = int(status["CapBnd"], 16)
    kept = {"CAP_NET_ADMIN": 12, "CAP_SYS_CHROOT": 18, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}
    assert {name for name, bit in kept.items() if bounds >> bit & 1} == set(kept)
    gone = {"CAP_SYS_BOOT": 22, "CAP_SYS_TIME": 25, "CAP_MAC_ADMIN": 33}
    assert {name for name, bit in gone.items() if bounds >> bit & 1} == set()
    # The very mount namespace of its process 1, which stands for the host's.
    (parent,) = re.findall(r"\d+", status["PPid"])
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(f"/proc/{parent}/ns/mnt")


@pytest.mark.thorough
def test_systemd_starts_an_agent_again_that_was_killed(systemd: Systemd) -> None:
    first = systemd.agent()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: systemd.agent() not in (None, first), "another agent serves")
