"""Running programs inside a network namespace of a throwaway node, with an exact environment."""

import json
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from amdcni.testing.scripts import run_script

PLAIN_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
)
"""The environment of a program if the caller of `run` or `start` gives none."""

PATIENCE_S = 300.0
"""How long to wait, unless a caller says otherwise, for what has to end by itself.

Only what hangs takes so long, however busy the machine is.
"""

StrPath = str | os.PathLike[str]

_ENTERED = ("--user=", "--mount=", "--net=")


class ThrowawayError(Exception):
    """Something about a throwaway node did not work; the message says what and why."""


class CommandFailed(ThrowawayError):
    """A program that had to succeed did not."""


@frozen
class Namespace:
    """A network namespace, seen together with its node's mount and user namespace.

    `entry` is the command that runs the command appended to it inside, by way of exec, so that the
    process ID of a started program is its own.  Without an entry it is the machine's own namespace.
    """

    entry: tuple[str, ...] = field(default=(), repr=False)

    def start(
        self,
        argv: Sequence[StrPath],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] = PLAIN_ENVIRONMENT,
        cwd: StrPath | None = None,
        uid: int | None = None,
        privileged: bool = True,
    ) -> subprocess.Popen[bytes]:
        """Start a program with exactly the environment `env` and stdout and stderr as pipes.

        It leads a session of its own.  Its folder is `cwd`, otherwise the node's `/`.  Another
        `uid` (and group) needs a node made by root; `privileged=False` drops its capabilities and
        works for every user.
        """
        prefix: list[StrPath] = [*self.entry]
        if cwd is not None:
            prefix += ["/usr/bin/env", f"--chdir={os.fspath(cwd)}"]
        if uid is not None:
            prefix += ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        if not privileged:
            prefix += ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        # A file, unlike a pipe, takes any amount at once and is there before the program starts.
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            return subprocess.Popen(
                [*prefix, *argv],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(env),
                start_new_session=True,
            )

    def run(
        self,
        argv: Sequence[StrPath],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] = PLAIN_ENVIRONMENT,
        cwd: StrPath | None = None,
        uid: int | None = None,
        privileged: bool = True,
        timeout_s: float = PATIENCE_S,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end; see `start`.

        Raises:
            subprocess.TimeoutExpired: it did not end in time; its whole session was killed.
        """
        process = self.start(argv, stdin=stdin, env=env, cwd=cwd, uid=uid, privileged=privileged)
        stdout, stderr = finish(process, timeout_s)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def output_of(self, argv: Sequence[StrPath], *, stdin: bytes = b"") -> str:
        """Return the standard output of a program that must succeed.

        Raises:
            CommandFailed: with what it wrote to standard error.
        """
        done = self.run(argv, stdin=stdin)
        return _output_of(
            subprocess.CompletedProcess(argv, done.returncode, done.stdout, done.stderr)
        )

    def ip(self, command: str) -> str:
        """Run iproute2's `ip` with the words of `command`, as in `ip("link set eth1 up")`.

        Raises:
            CommandFailed: with what ip says.
        """
        return self.output_of(["ip", *shlex.split(command)])

    def ip_batch(self, commands: Sequence[str]) -> None:
        """Run several `ip` commands by one process, up to the first that fails.

        Raises:
            CommandFailed: with what ip says.
        """
        self.output_of(["ip", "-batch", "-"], stdin="\n".join(commands).encode())

    def ip_json(self, command: str) -> list[dict[str, Any]]:
        """Return what `ip -details -json` answers to `command`, as in `ip_json("addr show")`.

        Raises:
            CommandFailed: with what ip says.
        """
        answer = self.output_of(["ip", "-details", "-json", *shlex.split(command)])
        # An absent list is printed as nothing, and an absent netdev as an empty object.
        return [entry for entry in json.loads(answer or "[]") if entry]

    def tc(self, command: str) -> str:
        """Run iproute2's `tc` with the words of `command`.

        Raises:
            CommandFailed: with what tc says.
        """
        return self.output_of(["tc", *shlex.split(command)])

    def sysctl(self, name: str, value: object = None) -> str:
        """Return a sysctl, after setting it to `value` if there is one.

        `name` is its path below /proc/sys, as in `net/ipv4/conf/eth1/rp_filter`: netdev names may
        contain dots.

        Raises:
            CommandFailed: it does not exist or does not accept the value.
        """
        path = f"/proc/sys/{name}"
        if value is not None:
            self.output_of(["dd", "status=none", f"of={path}"], stdin=f"{value}\n".encode())
        return self.output_of(["cat", path]).strip()

    def queues(self, ifname: str, *settings: str) -> None:
        """Give a netdev settings such as `rx-0/rps_cpus=3`, by their places in sysfs.

        Those of the netdev itself, such as `gro_flush_timeout=20000`, have no folder, and the
        limits of offloads that `ip` does not know are settings, too: `gso_ipv4_max_size=30000`.

        Raises:
            CommandFailed: there is no such setting, or it does not accept the value.
        """
        output_of_script(self.entry, "queues.change", ifname, *settings)

    def ethtool(self, ifname: str, kind: str, name: str, value: object) -> None:
        """Change a setting of `ethtool`, as in `ethtool("eth1", "channels", "rx", 2)`.

        Raises:
            CommandFailed: there is no such setting, or the driver refuses the value.
        """
        output_of_script(self.entry, "ethtool.change", ifname, kind, name, str(value))

    def ping(self, address: str, count: int = 1, timeout_s: float = 2) -> list[float]:
        """Return the round trip times in seconds of the echo requests that were answered.

        `address` is IPv4 or IPv6, for a link-local one with its netdev: `fe80::1%net1`.  For each
        of `count` answers it waits at most `timeout_s`.

        Raises:
            CommandFailed: the address is not one, or there is no route to it.
        """
        answer = output_of_script(self.entry, "ping.main", address, str(count), str(timeout_s))
        return [float(line) for line in answer.splitlines()]


def namespaces_of(entry: Sequence[str]) -> list[str]:
    """Return the paths of the namespaces that an `entry` enters, in the same order."""
    return [word.partition("=")[2] for word in entry if word.startswith(_ENTERED)]


def output_of_script(entry: Sequence[str], name: str, *arguments: str) -> str:
    """Return what a function of a script of the kit prints, which must succeed; see `scripts`.

    Raises:
        CommandFailed: with what it wrote to standard error.
    """
    return _output_of(run_script(name, arguments, namespaces_of(entry), PATIENCE_S))


def _output_of(done: "subprocess.CompletedProcess[bytes]") -> str:
    if done.returncode != 0:
        command = shlex.join(str(word) for word in done.args)
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise CommandFailed(f"{command} ended with {done.returncode}: {said}")
    return done.stdout.decode()


def finish(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[bytes, bytes]:
    """Wait for the end of a program made by `start` and return its stdout and stderr.

    Raises:
        subprocess.TimeoutExpired: it did not end in time; its whole session was killed.
    """
    with process:
        try:
            return process.communicate(timeout=timeout_s)
        except BaseException:
            kill(process)
            raise


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program made by `start`, and the children that stayed in its session."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
