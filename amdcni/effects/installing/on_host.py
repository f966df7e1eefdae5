"""From a container to the host: its namespaces, and the installed command in them."""

import ctypes
import os
from collections.abc import Sequence
from typing import Final, NoReturn

from amdcni.core.errors import InstallFailed
from amdcni.core.install.seen import path_of
from amdcni.core.install.tree import COMMAND, TreeName
from amdcni.effects.installing.processes import is_in_its_namespace, sees_the_host

_KINDS: Final = ("ipc", "uts", "net", "mnt")
"""What the agent shares with the host, the mount namespace last: /proc is the container's until
then.  The container's cgroup stays, which bounds the agent."""

_CLONE_FS: Final = 0x200


def execute_on_host(bin_dir: str, name: TreeName, words: Sequence[str]) -> NoReturn:
    """Become the command of the tree `name` in the host's `bin_dir`, with the same environment.

    Raises: InstallFailed if this is no container with hostPID, or if the tree is not there.
    """
    enter_host()
    command = os.path.join(bin_dir, path_of(name), COMMAND)
    try:
        os.execv(command, [command, *words])
    except OSError as error:
        raise InstallFailed(
            f"cannot execute {command!r} on the host: {error.strerror}; run amdcni install of the "
            "same version before, in an init container that has this folder of the host as a volume"
        ) from None


def enter_host() -> None:
    """Move this process into the namespaces of PID 1; raises InstallFailed."""
    opened = []
    try:
        if is_in_its_namespace("mnt"):
            raise InstallFailed(
                "PID 1 has the files of this process: the pod needs hostPID: true; or this is the "
                "host itself, and then leave out --on-host"
            )
        if not sees_the_host():
            raise InstallFailed(
                "PID 1 is not that of the host, but of this pod, whose containers share their "
                "processes; the pod needs hostPID: true"
            )
        opened = [os.open(f"/proc/1/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in _KINDS]
        # A process that shares its root and current folder with another one cannot leave.
        _call("unshare", _CLONE_FS)
        for fd in opened:
            _call("setns", fd, 0)
    except OSError as error:
        raise InstallFailed(
            f"cannot enter the namespaces of PID 1: {error.strerror}; the container has to be "
            "privileged, and the pod needs hostPID: true"
        ) from None
    finally:
        for fd in opened:
            os.close(fd)


def _call(function: str, *arguments: int) -> None:
    # os.setns and os.unshare exist from Python 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
