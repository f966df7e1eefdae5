"""The socket of the agent and the lock that decides which agent serves."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from amdcni.core.errors import StateFailure
from amdcni_agent.asking import find_listener
from amdcni_agent.door import Door


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short name: that of a socket has at most 107 bytes."""
    with TemporaryDirectory(prefix="door-") as folder:
        yield Path(folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "amdcni" / "agent.sock"


@pytest.fixture
def door(path: Path) -> Iterator[Door]:
    with Door(str(path)) as door:
        yield door


@pytest.fixture
def other(path: Path) -> Iterator[Door]:
    with Door(str(path)) as other:
        yield other


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(path))
        except OSError:
            return False
    return True


def test_who_listens_is_found_though_nobody_answers_unless_nobody_trusts_it(
    path: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_listener(str(path)) is None
    assert door.try_lock()
    door.open()
    assert find_listener(str(path)) == os.getpid()
    monkeypatch.setattr("amdcni_shim.client.is_trusted", lambda _: False)
    assert find_listener(str(path)) is None


def test_the_folder_and_the_socket_are_for_this_user_alone(path: Path, door: Door) -> None:
    assert door.try_lock()
    door.open()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(path.parent)) == ["agent.lock", "agent.sock"]


def test_only_one_agent_serves_and_the_next_one_takes_over(
    path: Path, door: Door, other: Door
) -> None:
    assert door.try_lock()
    door.open()
    assert not other.try_lock()
    door.unlock()
    assert not connects(path)
    assert other.try_lock()
    other.open()
    assert connects(path)


@pytest.mark.parametrize("kind", ["file", "dead socket", "socket of another"])
def test_whatever_is_at_the_path_is_replaced(path: Path, door: Door, kind: str) -> None:
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "file":
            path.write_text("")
        else:
            listening.bind(str(path))
            listening.listen()
        if kind != "socket of another":
            listening.close()
        assert door.try_lock()
        door.open()
        assert door.is_ours()
        assert connects(path)


@pytest.mark.parametrize("kind", ["removed", "replaced"])
def test_a_socket_that_was_removed_or_replaced_is_noticed_and_bound_anew(
    path: Path, door: Door, kind: str
) -> None:
    assert door.try_lock()
    door.open()
    path.unlink()
    if kind == "replaced":
        path.write_text("")
    assert not door.is_ours()
    assert door.is_locked()
    door.open()
    assert door.is_ours()
    assert connects(path)


def test_an_agent_whose_lock_file_was_removed_serves_no_more_until_it_has_it_again(
    path: Path, door: Door, other: Door
) -> None:
    assert door.try_lock()
    door.open()
    (path.parent / "agent.lock").unlink()
    assert other.try_lock()
    assert not door.is_locked()
    assert not door.try_lock()
    other.unlock()
    assert door.try_lock()


def test_a_folder_that_others_could_look_into_is_closed_to_them(path: Path, door: Door) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o755)
    assert door.try_lock()
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_path_that_is_too_long_for_a_socket_is_refused_in_words(tmp_path: Path) -> None:
    with Door(str(tmp_path / ("x" * 100) / "agent.sock")) as door:
        assert door.try_lock()
        with pytest.raises(StateFailure, match="path too long"):
            door.open()


def test_a_folder_of_another_user_is_not_used(path: Path, door: Door) -> None:
    path.parent.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(path.parent, 65534, 65534)
    with pytest.raises(StateFailure, match="is not a folder of this user"):
        door.try_lock()


def test_a_folder_that_is_a_link_is_not_used(path: Path, tmp_path: Path, door: Door) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateFailure, match="is not a folder of this user"):
        door.try_lock()
