"""Root writes and believes only what nobody else can have exchanged."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from amdcni.core.names import FilePath
from amdcni.core.places import Place
from amdcni.core.policy import Policy
from amdcni.effects import trust
from amdcni.effects.policy import find_policy, read_policy

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def place(base: Path, *parts: str) -> Place:
    return Place(str(base), FilePath(str(base.joinpath(*parts))))


def written(where: Place, text: bytes = b"line\n") -> bytes:
    with os.fdopen(trust.open_to_append(where), "wb") as file:
        file.write(text)
    return Path(where.path).read_bytes()


def test_a_log_file_is_made_and_appended_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o755)
    where = place(tmp_path, "folder", "log")
    assert written(where) == b"line\n"
    assert written(where) == b"line\nline\n"
    assert Path(where.path).stat().st_mode & 0o7777 == 0o640


def link(path: Path) -> None:
    path.symlink_to("/tmp/elsewhere")


def hard_link(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("precious")
    path.hardlink_to(other)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def device(path: Path) -> None:
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))


def anothers(path: Path) -> None:
    path.write_text("precious")
    os.chown(path, NOBODY, NOBODY)


def for_everybody(path: Path) -> None:
    path.touch()
    path.chmod(0o666)


OBSTACLES = [link, hard_link, fifo, listening, Path.mkdir, device, anothers, for_everybody]
by_obstacle = pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda made: made.__name__)


@needs_root
@by_obstacle
def test_nothing_but_a_plain_file_of_root_is_written(
    tmp_path: Path, obstacle: Callable[[Path], object]
) -> None:
    path = tmp_path / "log"
    obstacle(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(OSError, match=r"\S"):
        trust.open_to_append(place(tmp_path, "log"))
    assert not Path("/tmp/elsewhere").exists()
    assert (path.read_bytes() if path.is_file() else b"") == before


@needs_root
@pytest.mark.parametrize("obstacle", [fifo, listening, Path.mkdir, device, anothers, for_everybody])
def test_nothing_but_a_plain_file_of_root_is_believed(
    tmp_path: Path, obstacle: Callable[[Path], object]
) -> None:
    path = tmp_path / "record"
    obstacle(path)
    with pytest.raises(OSError, match=r"\S"):
        trust.open_to_read(path)


def give_away(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)


def open_to_everybody(folder: Path) -> None:
    folder.chmod(0o777)


def open_to_a_group(folder: Path) -> None:
    os.chown(folder, 0, NOBODY)
    folder.chmod(0o775)


def replace_by_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("real"))
    folder.symlink_to("real")


EXPOSED = [give_away, open_to_everybody, open_to_a_group, replace_by_a_link]


@needs_root
@pytest.mark.parametrize("expose", EXPOSED, ids=lambda made: made.__name__)
@pytest.mark.parametrize("which", ["outer", "outer/inner"])
def test_no_folder_on_the_way_may_be_exchanged_by_others(
    tmp_path: Path, expose: Callable[[Path], None], which: str
) -> None:
    (tmp_path / "outer/inner").mkdir(parents=True, mode=0o755)
    where = place(tmp_path, "outer", "inner", "log")
    assert trust.fault_of_folder(place(tmp_path, "outer", "inner")) is None
    expose(tmp_path / which)
    with pytest.raises(OSError, match=r"\S"):
        trust.open_to_append(where)
    assert trust.fault_of_folder(place(tmp_path, "outer", "inner")) is not None
    assert not (tmp_path / "outer/inner/log").exists()


@needs_root
def test_a_group_may_write_to_the_base_of_a_log_file_but_not_of_a_state_folder(
    tmp_path: Path,
) -> None:
    base = tmp_path / "log"
    base.mkdir()
    open_to_a_group(base)
    assert written(place(base, "amd-host-device.log")) == b"line\n"
    assert "by a group" in str(trust.fault_of_folder(place(base, "amd-host-device")))


def test_a_folder_that_is_not_there_yet_is_judged_by_those_above(tmp_path: Path) -> None:
    assert trust.fault_of_folder(place(tmp_path, "a", "b")) is None
    (tmp_path / "a").write_text("")
    assert "is not a folder" in str(trust.fault_of_folder(place(tmp_path, "a", "b")))


@needs_root
def test_in_a_sticky_folder_what_is_roots_is_safe_and_what_is_missing_is_not(
    tmp_path: Path,
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert "by everybody" in str(trust.fault_of_folder(place(shared, "state")))
    (shared / "state").mkdir()
    assert trust.fault_of_folder(place(shared, "state")) is None
    give_away(shared / "state")
    assert "does not belong to root" in str(trust.fault_of_folder(place(shared, "state")))


# ---- the state folder


def loosen(path: Path) -> None:
    path.chmod(0o666)
    os.chown(path, NOBODY, NOBODY)


@needs_root
def test_in_a_private_folder_a_record_is_read_whoever_it_belongs_to(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_text("{}")
    loosen(path)
    with pytest.raises(OSError, match="does not belong to root"):
        trust.open_to_read(path)
    os.close(trust.open_to_read(path, in_private=True))
    assert trust.is_private(str(tmp_path))
    open_to_everybody(tmp_path)
    assert not trust.is_private(str(tmp_path))
    path.unlink()
    fifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        trust.open_to_read(path, in_private=True)


@needs_root
@pytest.mark.parametrize("expose", [open_to_everybody, open_to_a_group, replace_by_a_link])
def test_a_folder_of_roots_is_believed_even_if_others_may_write_there(
    tmp_path: Path, expose: Callable[[Path], None]
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    expose(folder)
    assert trust.is_roots_folder(str(folder))
    give_away(folder)
    assert not trust.is_roots_folder(str(folder))


# ---- the policy


def test_without_a_file_there_is_no_policy(tmp_path: Path) -> None:
    assert read_policy(str(tmp_path / "policy.json")) == Policy()
    assert read_policy(str(tmp_path / "missing/policy.json")) == Policy()


def test_a_policy_that_cannot_be_looked_at_is_a_fault_and_not_missing(tmp_path: Path) -> None:
    (tmp_path / "amdcni").write_text("")
    assert read_policy(str(tmp_path / "amdcni/policy.json")).fault is not None
    (tmp_path / "dangling.json").symlink_to("nowhere")
    assert read_policy(str(tmp_path / "dangling.json")).fault is not None


def test_who_may_read_the_policy_finds_the_same_as_an_add(tmp_path: Path) -> None:
    for path in (tmp_path / "policy.json", tmp_path / "dangling.json"):
        assert find_policy(str(path)) == read_policy(str(path))
        path.symlink_to("nowhere")
        assert find_policy(str(path)) == read_policy(str(path)) != Policy()


def secure(tmp_path: Path) -> Path:
    """A folder with only safe ones above it, in which a policy may be."""
    path = tmp_path / "policy.json"
    path.write_text('{"naming": "allocated"}')
    return path


@needs_root
@pytest.mark.parametrize("obstacle", [each for each in OBSTACLES if each is not hard_link])
def test_a_policy_that_others_could_have_written_is_a_fault(
    tmp_path: Path, obstacle: Callable[[Path], object]
) -> None:
    path = tmp_path / "policy.json"
    obstacle(path)
    found = read_policy(str(path))
    assert found.fault is not None
    assert found.folders == ()


def dangling(folder: Path) -> None:
    folder.symlink_to("nowhere")


def endless(folder: Path) -> None:
    folder.symlink_to(folder.name)


@pytest.mark.parametrize("hide", [dangling, endless, Path.touch], ids=lambda made: made.__name__)
def test_a_policy_that_cannot_be_looked_for_is_a_fault(
    tmp_path: Path, hide: Callable[[Path], None]
) -> None:
    hide(tmp_path / "amdcni")
    assert read_policy(str(tmp_path / "amdcni/policy.json")).fault is not None


@needs_root
def test_a_policy_is_read(tmp_path: Path) -> None:
    path = secure(tmp_path)
    assert read_policy(str(path)).naming == "allocated"
    path.write_text("{")
    assert "not JSON" in str(read_policy(str(path)).fault)


@needs_root
def test_a_policy_in_a_folder_of_others_is_a_fault(tmp_path: Path) -> None:
    folder = tmp_path / "amdcni"
    folder.mkdir()
    secure(folder)
    give_away(folder)
    assert read_policy(str(folder / "policy.json")).fault is not None
