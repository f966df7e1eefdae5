"""A cage for a program that obeys hostile input: it can change, see and execute nothing outside.

`python -m tests.fuzz.cage COMMAND...` runs a command in it, with this standard input and output.
What contains it, from the outside in:

- A user without rights: the machine's own files refuse it, and root in the cage is nobody outside.
- Its own namespaces for processes, mounts, the network, IPC and the host's name.  Its /proc shows
  no process from outside, so no path leads to a network namespace that is not its own.
- Its own root folder, made of what Python and the tests need, read-only and without devices.  Only
  /tmp can be written, and what is mounted later in memory; /dev has the devices anybody may use.
- No new privileges, whatever is executed, no core dumps, and a limited number of processes.

`lock` is for a process that has loaded everything it needs: afterwards nothing can be executed but
the CNI plugins in PLUGINS, and only the capabilities that the plugin under test needs are left.
"""

import ctypes
import os
import platform
import resource
import shutil
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from amdcni.testing.holder import HOME, Refused, mount, unshare

PLUGINS: Final = "/opt/cni/bin"
"""The folder in the cage with the plugins that may be executed."""

_PLUGINS_FROM: Final = "/usr/lib/cni"
_NAMES: Final = ("host-device", "static", "host-local")
_LIBRARIES: Final = ("ld-linux", "libc.so", "libresolv.so", "libpthread.so")
"""The libraries that Debian links these plugins to."""

_CHECKOUT: Final = str(Path(__file__).parents[2])
_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc")
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_NOBODY: Final = 65534
_MOST_PROCESSES: Final = 2000
_LARGEST_FILE_BYTES: Final = 64 * 1024 * 1024

_NEW_ROOT: Final = "/run/root"
"""Where the root folder is made, below our own /run."""

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_CLONE_NEWUTS, _CLONE_NEWIPC, _CLONE_NEWPID = 0x04000000, 0x08000000, 0x20000000
_CLONE_ALL: Final = _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAPABILITY_VERSION, _CAP_NET_ADMIN, _CAP_SYS_ADMIN, _LAST_CAP = 0x20080522, 12, 21, 63

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(status: int, what: str) -> None:
    if status != 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")


def _set_attributes(path: str, add: int, take: int = 0, *, all_below: bool = False) -> None:
    """Give a mount attributes; with `all_below`, also every mount below it."""
    attributes = struct.pack("=QQQQ", add, take, 0, 0)
    flags = _AT_RECURSIVE if all_below else 0
    status = _libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, attributes, len(attributes)
    )
    _checked(status, f"mount_setattr {path}")


def _die_with_parent() -> None:
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")


# ---- from outside ------------------------------------------------------------------------------


def command_in_cage(command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` in a cage; it has to be run in the checkout."""
    return [sys.executable, "-m", "tests.fuzz.cage", *command]


def skip_reason() -> str | None:
    """Return why a cage is not possible here, or None if it is; found out by trying."""
    import subprocess

    done = subprocess.run(
        command_in_cage(["true"]), capture_output=True, text=True, check=False, cwd=_CHECKOUT
    )
    return None if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"


def main(command: Sequence[str]) -> int:
    """Run the command in a new cage and return its exit status."""
    _die_with_parent()
    os.umask(0o022)
    if os.geteuid() == 0:
        unshare(_CLONE_ALL, "mount, network, process and other namespaces")
    else:
        _enter_user_namespace()
    first = os.fork()
    if first == 0:
        # Process 1 of the namespace: when it ends, the kernel kills all others.
        os._exit(_be_first(command))
    return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])


def _enter_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    unshare(_CLONE_NEWUSER | _CLONE_ALL, "user, mount, network, process and other namespaces")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/self", name).write_text(text)


def _be_first(command: Sequence[str]) -> int:
    try:
        _die_with_parent()
        _make_root()
        if Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
            _die_with_parent()  # The kernel forgets this when the user changes.
        _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NPROC, (_MOST_PROCESSES, _MOST_PROCESSES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE_BYTES, _LARGEST_FILE_BYTES))
        child = os.fork()
        if child == 0:
            os.execvp(command[0], list(command))
    except (OSError, Refused) as failure:
        print(f"no cage here: {failure}", file=sys.stderr)
        return 1
    while (ended := os.wait())[0] != child:
        pass
    return os.waitstatus_to_exitcode(ended[1])


# ---- the root folder ---------------------------------------------------------------------------


def _make_root() -> None:
    mount("", "none", "/", _MS_REC | _MS_PRIVATE)
    mount("tmpfs", "tmpfs", "/run", options="mode=0755")
    os.mkdir(_NEW_ROOT)
    mount("tmpfs", "tmpfs", _NEW_ROOT, options="mode=0755")
    for folder in ("proc", "sys", "dev", "tmp", "run", "var/lib/cni", PLUGINS[1:]):
        os.makedirs(f"{_NEW_ROOT}/{folder}", exist_ok=True)
    for device in _DEVICES:
        Path(f"{_NEW_ROOT}/dev/{device}").touch()
    # First, as the checkout may be below /tmp and then has to be shown there.
    _mount_in_memory("/tmp", "mode=1777,size=256m")
    for path in _outermost([*_SYSTEM, sys.base_prefix, sys.prefix, _CHECKOUT]):
        _show(path)
    _set_attributes(_NEW_ROOT, _RDONLY | _NOSUID | _NODEV, all_below=True)
    _set_attributes(f"{_NEW_ROOT}/tmp", 0, _RDONLY)
    for device in _DEVICES:
        mount("", f"/dev/{device}", f"{_NEW_ROOT}/dev/{device}", _MS_BIND)
    _mount_in_memory(PLUGINS, "mode=0755,size=64m")
    for name in _NAMES:
        shutil.copy(f"{_PLUGINS_FROM}/{name}", f"{_NEW_ROOT}{PLUGINS}/{name}")
    _set_attributes(f"{_NEW_ROOT}{PLUGINS}", _RDONLY)
    mount("proc", "proc", f"{_NEW_ROOT}/proc")
    mount("sysfs", "sysfs", f"{_NEW_ROOT}/sys")
    _set_attributes(f"{_NEW_ROOT}/sys", _RDONLY)
    _enter_root()


def _mount_in_memory(path: str, options: str) -> None:
    mount("tmpfs", "tmpfs", _NEW_ROOT + path, options=options)
    _set_attributes(_NEW_ROOT + path, _NOSUID | _NODEV)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Return those of `paths` that are not below another one, with links to Python resolved."""
    real = {path if path in _SYSTEM else os.path.realpath(path) for path in paths}
    return sorted(p for p in real if not any(p.startswith(f"{other}/") for other in real))


def _show(path: str) -> None:
    there = _NEW_ROOT + path
    if os.path.islink(path):
        os.symlink(os.readlink(path), there)
    elif os.path.isdir(path):
        os.makedirs(there, exist_ok=True)
        mount("", path, there, _MS_BIND | _MS_REC)


def _enter_root() -> None:
    os.chdir(_NEW_ROOT)
    _checked(_libc.pivot_root(b".", b"."), "pivot_root")
    # The old root is on top of the new one now.
    _checked(_libc.umount2(b".", _MNT_DETACH), "umount of the old root")
    os.chdir(_CHECKOUT)


# ---- the process that obeys hostile input ------------------------------------------------------


def lock() -> None:
    """Let this process and its children execute nothing but the plugins, with few capabilities.

    The process must have been executed in its own mount namespace: if its executable were in
    another one, Python could be executed by /proc/self/exe.  Python must already have loaded all
    shared objects that it needs.
    """
    _die_with_parent()
    libraries = _libraries()
    for path in libraries:
        mount("", path, path, _MS_BIND)
    _set_attributes("/", _NOEXEC, all_below=True)
    for path in (*libraries, PLUGINS):
        _set_attributes(path, 0, _NOEXEC)
    mount("", HOME, HOME, _MS_BIND | _MS_REC)
    for path in ("/sys", HOME):
        _set_attributes(path, _RDONLY)
    _drop_capabilities({_CAP_NET_ADMIN, _CAP_SYS_ADMIN})


def _libraries() -> list[str]:
    """Return the paths of the dynamic linker and C library that this process has loaded."""
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    folders = {os.path.dirname(path) for path in mapped if os.path.basename(path)[:7] == "libc.so"}
    near = [Path(folder, name) for folder in folders for name in os.listdir(folder)]
    candidates = [*mapped, *(str(path.resolve()) for path in near)]
    return sorted({path for path in candidates if os.path.basename(path).startswith(_LIBRARIES)})


def _drop_capabilities(kept: Iterable[int]) -> None:
    kept = set(kept)
    for number in range(_LAST_CAP + 1):
        if number not in kept:
            # EINVAL for numbers beyond the last one that this kernel knows.
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    sets = sum(1 << number for number in kept)
    data = struct.pack("=6I", sets, sets, 0, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    _checked(_libc.capset(header, data), f"capset on {platform.machine()}")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, Refused) as refusal:
        sys.exit(f"no cage here: {refusal}")
