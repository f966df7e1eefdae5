"""Entering a network namespace, when a signal comes at the worst moment."""

import os
from pathlib import Path

import pytest

from amdcni.effects import netns


class SignalledError(Exception):
    """What a signal handler raises in the middle of anything."""


def test_a_signal_just_after_entering_a_namespace_does_not_leave_the_thread_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own, there = os.stat(netns.OWN_NETNS).st_ino, os.open(tmp_path, os.O_RDONLY)
    entered: list[int] = []

    def setns(fd: int) -> None:
        entered.append(there if fd == there else os.fstat(fd).st_ino)
        if fd == there:
            raise SignalledError

    monkeypatch.setattr(netns, "_setns", setns)
    with pytest.raises(SignalledError), netns.entered(there):
        pytest.fail("nothing is done there")
    assert entered == [there, own]
    os.close(there)


def test_entering_the_present_namespace_takes_no_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "_setns", lambda fd: pytest.fail(f"{fd} is entered"))
    own = os.open(netns.OWN_NETNS, os.O_RDONLY)
    with netns.entered(own):
        os.close(own)


@pytest.mark.parametrize("path", ["/proc/self/ns/mnt", "/proc/self/status", "/", "", "/no/such"])
def test_what_is_not_a_network_namespace_is_not_opened_as_one(path: str) -> None:
    assert netns.open_netns(path) is None
