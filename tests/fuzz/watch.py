"""What a call must not change: the host's network, its files, and the process that serves it.

This is the cheap comparison after every input, by rtnetlink and the file system; it calls none of
the code that it judges.  What it cannot see, the dump of the whole node shows in the end.
"""

import ctypes
import errno
import os
import shutil
import socket
import stat
import struct
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

from attrs import frozen

TREES: Final = ("/run", "/tmp", "/var/lib/cni")
"""All folders that can be written in the cage."""

MAY_BE_WRITTEN: Final = (
    *("/var/lib/cni/amd-host-device", "/run/amd-host-device", "/var/log/amd-host-device"),
    *("/var/lib/cni/networks", "/run/cni/networks"),
)
"""How the paths begin to which a definition may lead root, as the documentation promises."""

OWN: Final = "/run/fuzz"
"""Where the fuzzer itself keeps what it finds."""

_IGNORED: Final = (OWN, "/run/amdcni-node")  # The latter is read-only.
_SETTLE_S: Final = 20.0
"""Less than the time after which `make fuzz-edge` considers a call endless."""
_LARGEST_KEPT_BYTES: Final = 4096

File = tuple[str, bytes]
"""The kind of a file, and the content of a small one or the target of a link."""


class Changed(Exception):
    """Something has changed."""


class FilesChanged(Changed):
    """Files have changed, and nothing else."""


# ---- the network -------------------------------------------------------------------------------

_GET_LINK, _GET_ADDRESS, _GET_ROUTE, _DONE = 18, 22, 26, 3
_REQUEST_DUMP: Final = 0x301
_NAME, _ADDRESS_LIST_SIZE = 3, 65536
_LINK_ATTRIBUTES: Final = (1, 4, 6, 10, 13, 20, 27, 40, 41, 52, 58, 63, 64)
"""Of linux/if_link.h: address, MTU, qdisc, master, txqlen, alias, group, gso_max_segs,
gso_max_size, alternative names, gro_max_size, gso_ipv4_max_size, gro_ipv4_max_size."""
_CONFIGURED_FLAGS: Final = 0x1 | 0x80 | 0x100 | 0x200 | 0x1000
"""Of linux/if.h: UP, NOARP, PROMISC, ALLMULTI, MULTICAST."""
_ADDRESS_ATTRIBUTES: Final = (1, 2, 3, 4, 8, 11)
"""Of linux/if_addr.h: address, local, label, broadcast, flags, protocol."""
_ROUTE_ATTRIBUTES: Final = (1, 2, 5, 6, 7, 8)
"""Of linux/rtnetlink.h: destination, source, gateway, priority, preferred source, metrics."""
_OUTPUT: Final = 4


def _dump(kind: int, header_size: int) -> Iterator[tuple[bytes, Mapping[int, bytes]]]:
    """Yield the messages of a dump: what comes before the attributes, and the attributes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as asked:
        size = 16 + header_size
        asked.send(struct.pack("=IHHII", size, kind, _REQUEST_DUMP, 1, 0) + b"\0" * header_size)
        while True:
            data = asked.recv(_ADDRESS_LIST_SIZE)
            while data:
                length, answered = struct.unpack_from("=IH", data)
                if answered == _DONE:
                    return
                yield data[16:size], dict(_attributes(data[size:length]))
                data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def read_network() -> list[Any]:
    """Return this network namespace's netdevs, their addresses in order, and all its routes."""
    names, links = {}, []
    for header, attributes in _dump(_GET_LINK, 16):
        _, _, index, flags, _ = struct.unpack("=BxHiII", header)
        names[index] = attributes[_NAME]
        links.append(_kept(attributes, _LINK_ATTRIBUTES, flags & _CONFIGURED_FLAGS, names[index]))
    addresses = []
    for header, attributes in _dump(_GET_ADDRESS, 8):
        family, prefix, _, scope, index = struct.unpack("=BBBBI", header)
        of = (family, prefix, scope, names[index])
        addresses.append(_kept(attributes, _ADDRESS_ATTRIBUTES, *of))
    routes = []
    for header, attributes in _dump(_GET_ROUTE, 12):
        output = attributes.get(_OUTPUT, b"")
        through = names.get(struct.unpack("=I", output)[0]) if output else None
        # The last four bytes are flags of state, such as `linkdown`.
        routes.append(_kept(attributes, _ROUTE_ATTRIBUTES, header[:8], through))
    # Netdevs come in the order of their numbers, which change when they move.
    return [sorted(links, key=repr), sorted(addresses, key=_owner), sorted(routes, key=repr)]


def _kept(attributes: Mapping[int, bytes], kinds: tuple[int, ...], *others: object) -> Any:
    return (*others, tuple(attributes.get(kind) for kind in kinds))


def _owner(address: Any) -> Any:
    """Return family and netdev: a stable sort by these keeps the order of a netdev's addresses."""
    return address[0], address[3]


# ---- files -------------------------------------------------------------------------------------


def read_files() -> dict[str, File]:
    """Return all files in the trees that can be written."""
    return {path: _file(path) for tree in TREES for path in _below(tree, os.stat(tree).st_dev)}


def _below(folder: str, device: int) -> Iterator[str]:
    """Yield what is in a folder, but not what is mounted below it, which is read-only."""
    for entry in os.scandir(folder):
        if entry.path not in _IGNORED:
            yield entry.path
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                yield from _below(entry.path, device)


def _file(path: str) -> File:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return "link", os.fsencode(os.readlink(path))
    if not stat.S_ISREG(mode):
        return str(stat.S_IFMT(mode)), b""
    try:
        return "file", Path(path).read_bytes()[:_LARGEST_KEPT_BYTES]
    except OSError as error:  # The file of a network namespace cannot be read.
        return "file", errno.errorcode[error.errno or 0].encode()


def _remains(path: str, file: File, log_file: str | None) -> bool:
    """Return whether a new file is one that should have been cleaned up.

    Nothing may be where a definition may not lead root.  By design, lock files, empty state folders
    and what host-local remembers stay; a log stays because it was asked for.
    """
    if not path.startswith(MAY_BE_WRITTEN) and path != "/run/cni":
        return True
    folder, name = os.path.split(path)
    locks = os.path.basename(folder) == "locks"
    of_host_local = name == "lock" or name.startswith("last_reserved_ip.")
    folder_of_state = file[0] == str(stat.S_IFDIR)
    return not (locks or of_host_local or folder_of_state or path == log_file)


# ---- all of it ---------------------------------------------------------------------------------


@frozen
class Baseline:
    """The state of everything before the first call."""

    network: list[Any]
    files: Mapping[str, File]
    descriptors: int
    netns: str

    @classmethod
    def taken(cls) -> "Baseline":
        """Return the state of everything now."""
        return cls(read_network(), read_files(), len(os.listdir("/proc/self/fd")), _netns())

    def require(self, log_file: str | None) -> None:
        """Raise Changed unless everything is as it was, except the log file that was asked for.

        New files that are allowed are removed, so that each call finds the same state.
        """
        self._require_network()
        if _netns() != self.netns:
            raise Changed("the process has stayed in another network namespace")
        left = len(os.listdir("/proc/self/fd")) - self.descriptors
        if left:
            raise Changed(f"{left} descriptors are still open")
        self._require_no_children()
        self._require_files(log_file)

    def _require_network(self) -> None:
        deadline = time.monotonic() + _SETTLE_S
        while (now := read_network()) != self.network:
            # The kernel acts on a new carrier after a while (net/core/link_watch.c).
            if time.monotonic() > deadline:
                was, new = list(chain(*self.network)), list(chain(*now))
                gone = [entry for entry in was if entry not in new]
                come = [entry for entry in new if entry not in was]
                raise Changed(f"the network has changed: {gone} is gone, {come} is new")
            time.sleep(0.01)

    @staticmethod
    def _require_no_children() -> None:
        try:
            child = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        raise Changed(f"a child process is left: {child}")

    def _require_files(self, log_file: str | None) -> None:
        now = read_files()
        new = {path: file for path, file in now.items() if path not in self.files}
        remains = sorted(path for path, file in new.items() if _remains(path, file, log_file))
        gone = sorted(path for path in self.files if path not in now)
        changed = [path for path in self.files if now.get(path) != self.files[path]]
        logged = log_file if log_file and log_file.startswith(MAY_BE_WRITTEN) else None
        spoiled = [path for path in changed if path in now and path != logged]
        if remains or gone or spoiled:
            raise FilesChanged(f"files left: {remains}, gone: {gone}, changed: {spoiled}")
        for path in new:
            shutil.rmtree(path) if os.path.isdir(path) else Path(path).unlink(missing_ok=True)
        for path in changed:
            Path(path).write_bytes(self.files[path][1])


def _netns() -> str:
    return os.readlink("/proc/thread-self/ns/net")


# ---- memory ------------------------------------------------------------------------------------

_LIBC: Final = ctypes.CDLL(None)


def forget_peak() -> int:
    """Begin to measure the peak of resident memory, and return the bytes that are resident now.

    First, memory that the allocator has kept is returned to the kernel; otherwise it would hide
    what a call takes.
    """
    _LIBC.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def read_peak() -> int:
    """Return the peak of resident memory since `forget_peak`, in bytes."""
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)
