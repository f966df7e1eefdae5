"""What systemd hears from the agent."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni_agent.notify import Notifier
from tests.patience import PATIENCE_S

PID = 17


def hearing(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.settimeout(PATIENCE_S)
    listener.bind(address)
    return listener


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd's, and how NOTIFY_SOCKET names it."""
    path = str(tmp_path / "notify")
    address = path if request.param == "path" else f"\0{path}"
    with hearing(address) as listener:
        yield listener, address.replace("\0", "@")


def test_each_event_is_told_in_the_words_of_sd_notify(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = Notifier.of({"NOTIFY_SOCKET": name}, PID)
    assert notifier.ready("serving 3 attachments")
    assert listener.recv(999) == b"READY=1\nSTATUS=serving 3 attachments"
    assert notifier.status("healing")
    assert listener.recv(999) == b"STATUS=healing"
    assert notifier.alive()
    assert listener.recv(999) == b"WATCHDOG=1"
    assert notifier.stopping("waiting for 2 calls")
    assert listener.recv(999) == b"STOPPING=1\nSTATUS=waiting for 2 calls"


@given(st.text())
@example("healing\nREADY=1")
@example("\ud800")
def test_a_status_never_becomes_another_field(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = str(tmp_path_factory.mktemp("systemd") / "notify")
    with hearing(path) as listener:
        assert Notifier(path).status(text)
        (line,) = listener.recv(9999).split(b"\n")
    assert line.startswith(b"STATUS=")


@pytest.mark.parametrize("name", ["", "notify", "vsock:2:1234"])
def test_without_a_socket_nobody_is_told(name: str) -> None:
    assert Notifier.of({"NOTIFY_SOCKET": name}, PID).socket is None
    assert not Notifier.of({"NOTIFY_SOCKET": name}, PID).ready("ready")
    assert not Notifier.of({}, PID).ready("ready")


def test_a_socket_that_has_gone_is_no_fault(tmp_path: Path) -> None:
    assert not Notifier(str(tmp_path / "gone")).alive()


def test_a_systemd_that_does_not_read_holds_up_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with hearing(path):
        notifier = Notifier(path)
        told = sum(notifier.alive() for _ in range(10_000))
    assert told < 10_000


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "18"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_a_sign_of_life_is_due_at_half_of_the_limit(
    environ: dict[str, str], expected: float | None
) -> None:
    assert Notifier.of(environ, PID).watchdog_s == expected
