"""The first process of a node that has processes of its own; a script, started by `machine.py`.

It mounts the node's /proc and cgroups, says that it is ready, and then waits until its standard
input ends: the owner closed it, or is dead.  With it the kernel ends every process of the node.
Its argument is JSON, a list of file systems: kind, folder, options.

It needs nothing outside the standard library, and starts with `python -I -S`.
"""

import ctypes
import json
import os
import signal
import sys

_MS_REC, _MS_SHARED = 0x4000, 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


def lay_bare(folder: str) -> None:
    """Replace a link to a folder by a folder with links to what is in that one, but no cgroups.

    The kit's /sys/fs leads elsewhere, and runc demands that cgroups really are where they seem.
    """
    if os.path.islink(folder):
        real = os.path.realpath(folder)
        os.unlink(folder)
        os.mkdir(folder)
        for entry in os.listdir(real):
            if entry != "cgroup":
                os.symlink(f"{real}/{entry}", f"{folder}/{entry}")


def mount(kind: str, target: str, options: str) -> None:
    """Mount a file system on a folder, which is made if it is missing."""
    os.makedirs(target, exist_ok=True)
    words = (kind.encode(), target.encode(), kind.encode(), 0, options.encode())
    if _libc.mount(*words) != 0:
        sys.exit(f"mount {kind} on {target}: {os.strerror(ctypes.get_errno())}")


def main(file_systems: str) -> None:
    """Do what the module says."""
    # The kernel then waits for the children of init by itself, also for those that it inherits.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lay_bare("/sys/fs")
    for each in json.loads(file_systems):
        mount(*each)
    # As on every node: what a container shares with the host must reach the host.
    if _libc.mount(None, b"/", None, _MS_REC | _MS_SHARED, None) != 0:
        sys.exit(f"mount --make-rshared /: {os.strerror(ctypes.get_errno())}")
    print("ready", flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
