"""An agent that plays a script for each connection, to see what clients make of it."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from amdcni_shim import client

CHUNK_BYTES = 1 << 16
MANY_FDS = 16


class Connection:
    """The agent's end of a call."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.fds: list[int] = []

    def read_header(self) -> bytes:
        return self._read(client.HEADER_BYTES)

    def read_rest(self, header: bytes) -> bytes:
        """Return the environment and standard input."""
        lengths = (header[40:44], header[44:48])
        return self._read(sum(int.from_bytes(length, "little") for length in lengths))

    def _read(self, length: int) -> bytes:
        """Return so many bytes, and keep the descriptors that come with them in `fds`."""
        data = b""
        while len(data) < length:
            chunk, fds, _, _ = socket.recv_fds(self._end, length - len(data), MANY_FDS)
            self.fds += fds
            if not chunk:
                break
            data += chunk
        return data

    def say(self, data: bytes) -> None:
        self._end.sendall(data)

    def say_no_more(self) -> None:
        self._end.shutdown(socket.SHUT_WR)

    def wait_for_end(self) -> None:
        """Read until the client has closed its end."""
        try:
            while self._end.recv(CHUNK_BYTES):
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        self._end.close()
        while self.fds:
            os.close(self.fds.pop())


Script = Callable[[Connection], None]


class FakeAgent:
    """Plays `script` for each client that connects to `path`, one after the other."""

    def __init__(self, path: Path, script: Script, backlog: int = 8) -> None:
        path.unlink(missing_ok=True)
        self.connections = 0
        self._script = script
        self._failure: BaseException | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(backlog)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "FakeAgent":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Unlike close(), shutdown() ends an accept() in another thread.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        if self._failure is not None and failure is None:
            raise self._failure

    def _serve(self) -> None:
        while True:
            try:
                end, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection = Connection(end)
            try:
                self._script(connection)
            except ConnectionError:
                pass
            except BaseException as failure:
                self._failure = failure
            finally:
                connection.close()


def answer_of(status: int, output: bytes) -> bytes:
    """The bytes of an answer to a call."""
    return b"S" + bytes([status]) + len(output).to_bytes(4, "little") + output
