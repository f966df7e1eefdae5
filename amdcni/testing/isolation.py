"""The namespaces that a throwaway node is made of, and whether this machine allows them."""

import functools
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from amdcni.testing.holder import HOME
from amdcni.testing.namespaces import Namespace, ThrowawayError
from amdcni.testing.scripts import start_script

_STDERR = 2
_TOOLS = {"nsenter": "util-linux", "setpriv": "util-linux", "ip": "iproute2", "tc": "iproute2"}
_END_TIMEOUT_S = 10


class NotAllowedHere(ThrowawayError):
    """This machine, for this user, cannot make a throwaway node."""


@frozen
class Isolation:
    """A mount, a user and some network namespaces, alive while the process `pid` is."""

    pid: int
    user_namespace: bool

    @property
    def root(self) -> Path:
        """The root folder as seen inside, reachable from outside.

        Absolute symbolic links in it lead out of it.
        """
        return Path(f"/proc/{self.pid}/root")

    def namespace(self, netns: str) -> Namespace:
        """Return the network namespace that is at the path `netns` inside."""
        return Namespace(self.entry(netns))

    def entry(self, netns: str) -> tuple[str, ...]:
        """Return the command that runs the command appended to it inside, see `Namespace`."""
        ours = f"/proc/{self.pid}/ns"
        user = (f"--user={ours}/user", "--preserve-credentials") if self.user_namespace else ()
        # nsenter opens all of these before it enters any, hence the path that starts outside.
        return (_tool("nsenter"), *user, f"--mount={ours}/mnt", f"--net={self.root}{netns}", "--")


NODE_NETNS = f"{HOME}/node"
"""The path, inside, of the network namespace that stands for the host's own."""


@contextmanager
def isolated(*, duplicate_address_detection: bool = False) -> Iterator[Isolation]:
    """Hold new namespaces for the body of the `with`, or until this process dies.

    Raises:
        NotAllowedHere: with what is missing or was refused.
    """
    for tool in _TOOLS:
        _tool(tool)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            holder = start_script(
                "holder.main",
                [str(int(duplicate_address_detection))],
                [],
                [theirs.fileno(), theirs.fileno(), _STDERR],
            )
        with ours.makefile("r") as answers:
            answer = json.loads(answers.readline() or "{}")
        try:
            if not answer:
                raise ThrowawayError("the holder of the namespaces died, see standard error")
            if "refused" in answer:
                raise NotAllowedHere(f"no private network namespaces here: {answer['refused']}")
            yield Isolation(holder.pid, answer["user_namespace"])
        finally:
            ours.shutdown(socket.SHUT_WR)
            with suppress(subprocess.TimeoutExpired):
                holder.wait(_END_TIMEOUT_S)


def _tool(name: str) -> str:
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise NotAllowedHere(f"{name} is not installed (package {_TOOLS[name]})")
    return path


@functools.cache
def skip_reason() -> str | None:
    """Return why no throwaway node can be made here, or None if one could; found out by trying."""
    try:
        with isolated():
            return None
    except NotAllowedHere as refusal:
        return str(refusal)
