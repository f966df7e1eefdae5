"""A netdev that comes home is udev's first, wherever udev is at work."""

from pathlib import Path
from threading import Timer

import pytest

from amdcni.effects.udev import await_udev


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


def test_udev_has_done_with_a_netdev_once_it_is_known_and_nothing_is_queued(folder: Path) -> None:
    (folder / "queue").touch()
    ended: list[str] = []

    def end() -> None:
        (folder / "data/n7").touch()
        ended.append("known")
        (folder / "queue").unlink()

    timer = Timer(0.05, end)
    timer.start()
    await_udev(7, str(folder))
    assert ended == ["known"]
    timer.join()


def test_a_netdev_that_udev_does_not_hear_of_is_not_awaited_for_ever(folder: Path) -> None:
    await_udev(7, str(folder))
