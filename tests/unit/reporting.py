"""What the tests of the reporting process share: messages, a main process, a scraper."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from amdcni.core.condition import Condition
from amdcni.core.request import Mover
from amdcni.core.spec import Verb
from amdcni_agent.address import Address
from amdcni_agent.happenings import Happened, Happening, Pod, in_short
from amdcni_agent.messages import (
    OUTCOMES,
    AgentState,
    Attachments,
    CallEnded,
    Counted,
    Healed,
    Lost,
    Message,
    NotHealed,
    NotRestored,
    Reattached,
    What,
    encode,
)
from tests.patience import PATIENCE_S, wait_until

counts = st.integers(0, 2**40)
durations = st.floats(0, 1e6)
calls = st.builds(
    CallEnded,
    verb=st.none() | st.sampled_from(Verb),
    mover=st.none() | st.sampled_from(Mover),
    outcome=st.sampled_from(sorted(OUTCOMES)),
    lasted_s=st.none() | durations,
    queued_s=durations,
)
states = st.builds(
    AgentState,
    is_serving=st.booleans(),
    # Any text, quotes and line ends among it; the parser reads no carriage return, nor we write it.
    version=st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.just("\n"), max_size=20
    ),
    idle_workers=counts,
    busy_workers=counts,
    waiting_calls=counts,
)
countable: st.SearchStrategy[Counted] = st.one_of(
    calls,
    st.builds(Attachments, st.dictionaries(st.sampled_from(Condition), counts), damaged=counts),
    st.builds(Healed, st.sampled_from(Condition)),
    st.builds(NotHealed),
    st.builds(NotRestored, st.sampled_from(What)),
    st.builds(Reattached),
    states,
    st.builds(Lost, counts),
)
pods = st.builds(
    Pod,
    namespace=st.from_regex(r"[a-z]([-a-z0-9]{0,9}[a-z0-9])?", fullmatch=True),
    name=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,9}[a-z0-9])?(\.[a-z]{1,3})*", fullmatch=True)
    | st.text("abc", min_size=200, max_size=253),
    uid=st.none() | st.uuids().map(str),
)
happenings = st.builds(
    Happened,
    what=st.sampled_from(Happening),
    subject=st.sampled_from(["0000:c1:00.0", "0000:c2:00.0", "net1"]) | st.text().map(in_short),
    words=st.text(min_size=1).map(in_short) | st.text('é𝄞"', min_size=250).map(in_short),
    pod=st.none() | pods,
)
messages: st.SearchStrategy[Message] = st.one_of(countable, happenings)

CALL = CallEnded(Verb.ADD, Mover.NATIVE, "ok", lasted_s=0.08, queued_s=0.001)
SERVING = AgentState(
    is_serving=True, version="1.0", idle_workers=2, busy_workers=0, waiting_calls=0
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""The value of each time series, by its name and labels."""


def read_metrics(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def value_of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def total(samples: Samples, name: str) -> float:
    return sum(value for (each, _), value in samples.items() if each == name)


def connect(address: Address) -> socket.socket:
    return socket.create_connection((str(address.host), address.port), timeout=PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection, whichever way it ends."""
    received = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def ask(address: Address, request: bytes) -> tuple[int, bytes]:
    """Status and body of the response to a request."""
    with connect(address) as connection:
        connection.sendall(request)
        return read_response(connection)


def read_response(connection: socket.socket) -> tuple[int, bytes]:
    head, _, body = read_all(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def get(address: Address, path: str) -> tuple[int, bytes]:
    return ask(address, f"GET {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode())


def scrape(address: Address) -> Samples:
    status, body = get(address, "/metrics")
    assert status == 200
    return read_metrics(body.decode())


class MainProcess:
    """A main process in miniature, with a reporting process; it obeys one word a line."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.unit.reporting_main", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environ},
            )

    def obey(self, command: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def send(self, message: Message) -> None:
        assert self.obey(f"send {encode(message).decode()}") == "sent"

    def start(self) -> Address:
        """Start the reporting process; where it serves."""
        before = len(self.addresses())
        self.obey("start")
        wait_until(lambda: len(self.addresses()) > before, "the pages are served")
        return self.addresses()[-1]

    def addresses(self) -> list[Address]:
        said = re.findall(r"event=metrics-served address=(\S+)", self.log)
        return [Address.parse(text) for text in said]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def reporter(self) -> int:
        """The process ID of the reporting process."""
        children: list[int] = json.loads(self.obey("children"))
        return children[-1]

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def main_process(folder: Path, **environ: str) -> Iterator[MainProcess]:
    process = MainProcess(folder, **environ)
    try:
        yield process
    finally:
        process.end()


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)
