"""Forks a process for each call that `warm.py` asks for; a script with a socket as stdin.

Everything is imported before the first call, and each process that is forked goes on as the
executable does after its start: in the namespaces, with the environment and the standard streams of
its call, and without any other descriptor of this process.
"""

import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import selectors
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from amdcni_shim import process, start

STREAMS: Final = 3
MAX_REQUEST_BYTES: Final = 1 << 16
MAX_DESCRIPTORS: Final = 8
PACKAGES: Final = ("amdcni.core", "amdcni.effects", "amdcni.verbs", "amdcni.cli")

RECORD: Final = Path(__file__).parents[1] / "unit/data/record-format-1.json"
CALL: Final = {
    "CNI_CONTAINERID": "pod1",
    "CNI_IFNAME": "net1",
    "CNI_NETNS": "/run/netns/pod1",
    "CNI_PATH": "/opt/cni/bin",
}
RESULT: Final = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/pod1"}],
    "ips": [{"address": "192.0.2.1/31", "interface": 0}],
    "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.0"}],
}
CONFIG: Final = {
    "cniVersion": "1.1.0",
    "name": "fabric",
    "type": "amd-host-device",
    "deviceID": "0000:01:00.0",
    "ipam": {"type": "host-local"},
    "prevResult": RESULT,
}

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def load() -> None:
    """Import what any call needs, and keep the collector from touching and so copying it."""
    process.start_lightly()
    for name in PACKAGES:
        package = importlib.import_module(name)
        for each in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(each.name)
    importlib.import_module("amdcni_shim.__main__")
    importlib.import_module("amdcni_shim.edge")
    importlib.import_module("amdcni.log")
    rehearse()
    gc.freeze()


def rehearse() -> None:
    """Read and write what calls do: the codec prepares itself at the first value of each type."""
    from amdcni.core import codec, formats
    from amdcni.core.request import parse_environment
    from amdcni.core.versions import CniVersion

    formats.attachment_to_json(formats.parse_attachment(RECORD.read_bytes()))
    for verb in ("ADD", "CHECK", "DEL"):
        call = parse_environment({**CALL, "CNI_COMMAND": verb})
        formats.parse_call(call, json.dumps(CONFIG).encode())
    codec.result_to_json(codec.result_from_json(RESULT), CniVersion("1.1.0"))


def serve(requests: socket.socket) -> None:
    """Fork for each request, send the process ID and later the wait status, until nobody asks."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not requests:
                    waiting.unregister(key.fileobj)
                    os.close(key.fd)
                    answer, pid = key.data
                    send(answer, os.waitpid(pid, 0)[1])
                    answer.close()
                    continue
                data, descriptors, _, _ = socket.recv_fds(
                    requests, MAX_REQUEST_BYTES, MAX_DESCRIPTORS
                )
                if not data:
                    return
                pid = os.fork()
                if pid == 0:
                    become(json.loads(data), descriptors)
                answer = socket.socket(fileno=descriptors[0])
                for descriptor in descriptors[1:]:
                    os.close(descriptor)
                send(answer, pid)
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (answer, pid))


def send(answer: socket.socket, number: int) -> None:
    """Send a number to who asked, if that is still interested."""
    with suppress(BrokenPipeError):
        answer.send(str(number).encode())


def become(request: dict[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """Serve one call and end; the descriptors are an answer's, three streams', and namespaces'."""
    status = 70
    try:
        os.setsid()
        streams, namespaces = descriptors[1 : 1 + STREAMS], descriptors[1 + STREAMS :]
        for descriptor in namespaces:
            if _LIBC.setns(descriptor, 0) != 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error), "setns")
        os.chdir("/")
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        os.closerange(STREAMS, os.sysconf("SC_OPEN_MAX"))
        stdin, stdout, stderr = (io.FileIO(n, mode) for n, mode in enumerate(("r", "w", "w")))
        sys.stdin = io.TextIOWrapper(io.BufferedReader(stdin))
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(stdout))
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(stderr), errors="backslashreplace", line_buffering=True
        )
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = request["argv"]
        if request["before"] is not None:
            module, name, arguments = request["before"]
            getattr(importlib.import_module(module), name)(*arguments)
        status = run(os.path.basename(sys.argv[0]))
    finally:
        os._exit(status)


def run(program: str) -> int:
    """Run one of the two executables, or a script in Python; return its exit status."""
    try:
        if program == "amd-host-device":
            start.run()
        elif program == "amdcni":
            importlib.import_module("amdcni.cli").run()
        else:
            run_script(sys.argv[0])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def run_script(path: str) -> None:
    """Run a script as an interpreter of its own does, which flushes what was printed at the end."""
    try:
        runpy.run_path(path, run_name="__main__")
    finally:
        sys.stdout.flush()


if __name__ == "__main__":
    load()
    serve(socket.socket(fileno=0))
