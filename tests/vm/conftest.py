"""These tests run in the virtual machine; pytest on this computer shows what they reported there.

Both sides read this file: `INSIDE` says which one this is.
"""

import os
from collections.abc import Iterator

import pytest

from tests.vm import recording, replay
from tests.vm.guest import Guest
from tests.vm.recording import OUT

INSIDE = OUT in os.environ


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "after_reboot: runs after the machine has rebooted")
    if INSIDE:
        config.pluginmanager.register(recording.Recorder(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What the last test before the reboot leaves is what the first one after it finds.
    items.sort(key=lambda item: item.path.name == "test_reboot.py")


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
    # What the last test leaves ends with the machine, and the next boot needs the state folder.
    if request.node is request.session.items[-1]:
        booted.keep_state()
    else:
        booted.reset()
