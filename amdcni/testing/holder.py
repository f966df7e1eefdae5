"""The process that holds a throwaway node's namespaces; a script, started by `isolation.py`.

It makes the namespaces, prints one line of JSON (`{"user_namespace": bool}` or
`{"refused": reason}`) and then waits until its standard input ends: the owner closed it, or is
dead.  It then kills what is left in its mount namespace, so that the kernel frees everything that
the node was made of.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import time

HOME = "/run/amdcni-node"
"""Where a node keeps what real machines do not have: its sysfs, its netns files, what it covers."""

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_MS_RDONLY, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x1, 0x1000, 0x4000, 0x40000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """This machine does not allow what a node cannot do without; the text has the reason."""


def _checked(status: int, what: str) -> None:
    if status != 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")


def unshare(flags: int, what: str) -> None:
    """Put this process into new namespaces.

    Raises:
        Refused: with `what` in its text.
    """
    _checked(_libc.unshare(flags), f"unshare({what})")


def mount(kind: str, source: str, target: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system, or a folder or file by `_MS_BIND`.

    Raises:
        Refused: with what and where in its text.
    """
    arguments = (source.encode(), target.encode(), kind.encode() or None, flags)
    status = _libc.mount(*arguments, options.encode() or None)
    _checked(status, f"mount {kind or source} on {target}")


def enter_new_namespaces() -> bool:
    """Enter a new mount and network namespace; return whether that took a user namespace."""
    with contextlib.suppress(Refused):
        unshare(_CLONE_NEWNS | _CLONE_NEWNET, "mount, network")
        return False
    uid, gid = os.geteuid(), os.getegid()
    unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWNET, "user, mount, network")
    # Without CAP_SETGID outside, user_namespaces(7) wants setgroups denied before the map.
    _write_own("setgroups", "deny")
    _write_own("uid_map", f"0 {uid} 1")
    _write_own("gid_map", f"0 {gid} 1")
    return True


def _write_own(name: str, text: str) -> None:
    try:
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    except OSError as error:
        raise Refused(f"writing {text!r} to /proc/self/{name}: {error.strerror}") from error


def cover(path: str, options: str = "mode=0755") -> None:
    """Put an empty, private tmpfs over the folder `path`, which the machine need not have.

    If it is missing, its nearest existing ancestor is covered instead, by a folder of links to
    what was in it, since not even a folder may be made in the machine's own file system.
    """
    if os.path.isdir(path):
        mount("tmpfs", "tmpfs", path, options=options)
        return
    ancestor = os.path.dirname(path)
    while not os.path.isdir(ancestor):
        ancestor = os.path.dirname(ancestor)
    original = HOME + "/covered" + ancestor
    os.makedirs(original)
    mount("", ancestor, original, _MS_BIND | _MS_REC)
    mount("tmpfs", "tmpfs", ancestor, options="mode=0755")
    link_entries(original, ancestor)
    os.makedirs(path)
    mount("tmpfs", "tmpfs", path, options=options)


def link_entries(source: str, target: str, leave_out: tuple[str, ...] = ()) -> None:
    """Fill the folder `target` with links to the entries of `source`.

    The links are relative, so that they also work through /proc/PID/root.
    """
    for entry in os.listdir(source):
        if entry not in leave_out:
            os.symlink(os.path.relpath(f"{source}/{entry}", target), f"{target}/{entry}")


def keep_network_namespace(path: str, accept_dad: str) -> None:
    """Give the current network namespace a path, and set its loopback up."""
    open(path, "w").close()
    mount("", "/proc/self/ns/net", path, _MS_BIND)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    with open("/proc/sys/net/ipv6/conf/default/accept_dad", "w") as file:
        file.write(accept_dad)


def make_network_namespace(path: str, accept_dad: str) -> None:
    """Make another network namespace of the node and give it a path, as `ip netns add` does."""
    unshare(_CLONE_NEWNET, "network")
    keep_network_namespace(path, accept_dad)


def mount_sysfs() -> None:
    """Mount a sysfs of the current network namespace, and on /sys one with our own PCI bus."""
    real = HOME + "/sysfs"
    os.mkdir(real)
    try:
        mount("sysfs", "sysfs", real)
    except Refused:
        # In a container /sys is read-only, and a user namespace may not gain by mounting again.
        mount("sysfs", "sysfs", real, _MS_RDONLY)
    mount("tmpfs", "tmpfs", "/sys", options="mode=0755")
    link_entries(real, "/sys", leave_out=("bus", "devices"))
    for folder, ours in (("bus", ("pci", "auxiliary")), ("devices", ())):
        os.mkdir(f"/sys/{folder}")
        link_entries(f"{real}/{folder}", f"/sys/{folder}", leave_out=ours)
    # A fake device may have the address of a real one: no root complex of the machine is shown.
    for entry in os.listdir("/sys/devices"):
        if entry.startswith("pci"):
            os.unlink(f"/sys/devices/{entry}")
    for bus in ("pci", "auxiliary"):
        os.makedirs(f"/sys/bus/{bus}/devices")
        os.makedirs(f"/sys/bus/{bus}/drivers")


def set_up(accept_dad: str) -> bool:
    """Make the whole node; return whether that took a user namespace."""
    if not os.path.exists("/proc/sys/net/ipv6"):
        raise Refused("the kernel runs without IPv6")
    in_user_namespace = enter_new_namespaces()
    mount("", "none", "/", _MS_REC | _MS_PRIVATE)
    mount("tmpfs", "tmpfs", "/run", options="mode=0755")
    os.mkdir(HOME)
    os.mkdir("/run/netns")
    keep_network_namespace(f"{HOME}/node", accept_dad)
    cover("/var/lib/cni")
    mount_sysfs()
    return in_user_namespace


def kill_inhabitants() -> None:
    """Kill every other process of this mount namespace, until there are none."""
    ours = os.readlink("/proc/self/ns/mnt")
    while pids := [pid for pid in _other_pids() if _mount_namespace_of(pid) == ours]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def _other_pids() -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if pid != os.getpid()]


def _mount_namespace_of(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return None


def main(accept_dad: str) -> None:
    """Hold the namespaces until standard input ends."""
    try:
        print(json.dumps({"user_namespace": set_up(accept_dad)}), flush=True)
    except Refused as refusal:
        print(json.dumps({"refused": str(refusal)}), flush=True)
        return
    sys.stdin.buffer.read()
    kill_inhabitants()
