"""The tests here run in the machine; on this computer pytest shows what it reported.

Both read this file: `INSIDE` tells them apart.
"""

import os
from collections.abc import Iterator

import pytest

from tests.vm import recording, replay
from tests.vm.guest import Guest
from tests.vm.recording import OUT

INSIDE = OUT in os.environ


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "after_reboot: runs when the machine has booted again")
    if INSIDE:
        config.pluginmanager.register(recording.Recorder(config))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    return None if INSIDE else replay.show(item)


def pytest_sessionfinish(session: pytest.Session) -> None:
    replay.end(session)


@pytest.fixture(scope="session")
def booted() -> Guest:
    guest = Guest()
    guest.set_up()
    return guest


@pytest.fixture
def guest(booted: Guest, request: pytest.FixtureRequest) -> Iterator[Guest]:
    yield booted
    # The last test's traces end with the machine, and the state folder is for the next boot.
    if request.node is not request.session.items[-1]:
        booted.reset()
