"""Network namespaces: opened by path, told apart by their nsfs file, entered by this thread."""

import ctypes
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from amdcni.core.errors import KernelRefused
from amdcni.core.host import NetnsId

OWN_NETNS: Final = "/proc/thread-self/ns/net"

_CLONE_NEWNET: Final = 0x40000000
_NS_GET_NSTYPE: Final = 0xB703  # include/uapi/linux/nsfs.h

_SYS_FSOPEN: Final = 430
_SYS_FSCONFIG: Final = 431
_SYS_FSMOUNT: Final = 432
_CLOEXEC: Final = 1  # FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC of include/uapi/linux/mount.h
_FSCONFIG_CMD_CREATE: Final = 6
_MOUNT_ATTR_RDONLY: Final = 0x1
_MOUNT_ATTR_HARMLESS: Final = 0x2 | 0x4 | 0x8  # NOSUID, NODEV, NOEXEC


def open_netns(path: str) -> int | None:
    """A file descriptor of the network namespace at `path`; None if there is none.

    Only a real one is accepted: the kernel is asked for the kind of the namespace, so a plain file,
    a FIFO or a namespace of another kind is rejected.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        if regular and fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def netns_id(where: int | str, cookie: int | None = None) -> NetnsId:
    """What distinguishes the namespace of a descriptor or path from any other that exists now.

    With its cookie, from any other of this boot.  Raises OSError.
    """
    status = os.stat(where)
    return NetnsId(status.st_dev, status.st_ino, cookie)


def leads_to(path: str, fd: int) -> bool:
    """Whether the namespace of `fd` is at `path`, as seen from here."""
    try:
        return netns_id(path) == netns_id(fd)
    except (OSError, ValueError):
        return False


def all_paths() -> Iterator[tuple[str, NetnsId]]:
    """The paths of all named network namespaces and of those of all processes, with their IDs."""
    from glob import glob

    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    for path in (*sorted(glob("/run/netns/*")), *(f"/proc/{pid}/ns/net" for pid in pids)):
        with suppress(OSError):
            yield path, netns_id(path)


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """Puts this thread into the namespace of `fd` for a while; a socket stays where it was made.

    If the thread is there already, this takes no privilege.
    """
    own = os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if netns_id(own) == netns_id(fd):
            yield
            return
        try:
            _setns(fd)
            yield
        finally:
            # Even if a signal came just after the namespace was entered.
            _setns(own)
    finally:
        os.close(own)


def new_netns() -> int | None:
    """A descriptor of a new network namespace, which ends with it; None if the kernel refuses.

    This thread stays where it is.
    """
    own = os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.unshare(_CLONE_NEWNET) != 0:
            return None
        return os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        _setns(own)
        os.close(own)


@contextmanager
def mounted_sysfs(*, writable: bool = False) -> Iterator[int]:
    """A folder with a sysfs that shows the network namespace of this thread.

    It is attached nowhere, so that nobody else sees it, and it ends with its descriptor.  Raises
    OSError; there is none before Linux 5.2.
    """
    attributes = _MOUNT_ATTR_HARMLESS | (0 if writable else _MOUNT_ATTR_RDONLY)
    context = system_call(_SYS_FSOPEN, b"sysfs", _CLOEXEC)
    try:
        system_call(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        root = system_call(_SYS_FSMOUNT, context, _CLOEXEC, attributes)
    finally:
        os.close(context)
    try:
        yield root
    finally:
        os.close(root)


def system_call(number: int, *arguments: object) -> int:
    """What a system call returns that the C library may not know; raises OSError."""
    returned = _LIBC.syscall(number, *arguments)
    if returned < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(returned)


def _setns(fd: int) -> None:
    # os.setns exists from Python 3.12 on.
    if _LIBC.setns(fd, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise KernelRefused(f"cannot enter a network namespace: {os.strerror(code)}")


_LIBC: Final = ctypes.CDLL(None, use_errno=True)
