"""The process that forks to call a function of a script; a script itself, started by `scripts.py`.

Starting Python costs more than most of what the kit's scripts do.  A request on the socket that is
standard input names a script, a function in it and its arguments, and brings the descriptors of a
socket for the answer, of the three streams, and of the namespaces to enter.  The answer is the
process ID and, when the process has ended, its exit status.

It needs nothing outside the standard library, and for the kit's scripts starts with `python -I -S`.
It ends when nobody can ask any more.
"""

import contextlib
import ctypes
import functools
import importlib.util
import json
import os
import selectors
import socket
import sys
from typing import Any, NoReturn

STREAMS = 3
MAX_REQUEST_BYTES = 1 << 16
MAX_DESCRIPTORS = 8

_libc = ctypes.CDLL(None, use_errno=True)


@functools.cache
def load(path: str) -> Any:
    """Return the module of a script, so that a process that is forked need not import it."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(requests: socket.socket) -> None:
    """Fork for each request and report the end of each process, until nobody asks."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not requests:
                    waiting.unregister(key.fileobj)
                    os.close(key.fd)
                    answer, pid = key.data
                    send(answer, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    answer.close()
                    continue
                data, descriptors, _, _ = socket.recv_fds(
                    requests, MAX_REQUEST_BYTES, MAX_DESCRIPTORS
                )
                if not data:
                    return
                request = json.loads(data)
                load(request["script"])
                pid = os.fork()
                if pid == 0:
                    become(request, descriptors)
                answer = socket.socket(fileno=descriptors[0])
                for descriptor in descriptors[1:]:
                    os.close(descriptor)
                send(answer, pid)
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (answer, pid))


def send(answer: socket.socket, number: int) -> None:
    """Send a number to who asked, if that is still interested."""
    with contextlib.suppress(BrokenPipeError):
        answer.send(str(number).encode())


def become(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Call one function in the namespaces with the descriptors, and end."""
    status = 1
    try:
        # A session of its own: an interrupt at the keyboard is the business of who asked.
        os.setsid()
        streams, namespaces = descriptors[1 : 1 + STREAMS], descriptors[1 + STREAMS :]
        for descriptor in namespaces:
            if _libc.setns(descriptor, 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        os.chdir("/")
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        os.closerange(STREAMS, os.sysconf("SC_OPEN_MAX"))
        getattr(load(request["script"]), request["function"])(*request["arguments"])
        status = 0
    except SystemExit as end:
        if isinstance(end.code, int):
            status = end.code
        elif end.code is not None:
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            # Whatever fails, this process must not go on as the one that forks.
            os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
