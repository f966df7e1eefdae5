"""Installations and removals that are killed, fail, or meet anything at all in the folder.

At every moment the executable is a whole one, and whatever was there before the first installation
is there again after the removal.
"""

import errno
import io
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amdcni.cli import main
from amdcni.core.errors import InstallFailed
from amdcni.core.install.removal import plan_cleanup
from amdcni.effects.installing.look import look, read_tree
from amdcni.effects.installing.perform import perform
from tests.unit.binaries import (
    FOREIGN,
    BuiltTree,
    Picture,
    before_change,
    build_tree,
    install,
    is_installed,
    killed_at,
    picture,
    uninstall,
)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[BuiltTree, ...]:
    folder = tmp_path_factory.mktemp("trees")
    return tuple(build_tree(folder / version, version) for version in ("1.0", "1.1", "1.2", "0.9"))


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder that is flushed to memory: these tests flush thousands of files."""
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield Path(folder)


# ---- what is in the folder before


def nothing(bin_dir: Path, trees: tuple[BuiltTree, ...]) -> None:
    (bin_dir / "bridge").write_bytes(b"another plugin")


def foreign_file(bin_dir: Path, trees: tuple[BuiltTree, ...]) -> None:
    nothing(bin_dir, trees)
    (bin_dir / "amd-host-device").write_bytes(FOREIGN)
    (bin_dir / "amd-host-device").chmod(0o751)


def foreign_link(bin_dir: Path, trees: tuple[BuiltTree, ...]) -> None:
    (bin_dir / "amd-host-device").symlink_to("/opt/amdcni/bin/amd-host-device")


def older_version(bin_dir: Path, trees: tuple[BuiltTree, ...]) -> None:
    foreign_file(bin_dir, trees)
    install(bin_dir, trees[0])


def two_older_versions(bin_dir: Path, trees: tuple[BuiltTree, ...]) -> None:
    foreign_link(bin_dir, trees)
    install(bin_dir, trees[3])
    install(bin_dir, trees[0])


def newer_version(bin_dir: Path, trees: tuple[BuiltTree, ...]) -> None:
    install(bin_dir, trees[2])


def damaged(bin_dir: Path, trees: tuple[BuiltTree, ...]) -> None:
    foreign_file(bin_dir, trees)
    install(bin_dir, trees[1])
    tree = bin_dir / ".amdcni" / trees[1].name
    (tree / "lib/deep/er/module.py").write_bytes(b"vers")
    (tree / "lib/empty").unlink()
    (tree / "bin/python3").unlink()
    (tree / "bin/python3").write_bytes(b"not a link")
    shutil.rmtree(tree / "share")
    (tree / "share").write_bytes(b"not a folder")
    (tree / "MANIFEST.json").write_bytes(b"")


def foreign_over_ours(bin_dir: Path, trees: tuple[BuiltTree, ...]) -> None:
    install(bin_dir, trees[0])
    (bin_dir / "amd-host-device").unlink()
    foreign_file(bin_dir, trees)


BEFORE = (
    *(nothing, foreign_file, foreign_link, older_version, two_older_versions),
    *(newer_version, damaged, foreign_over_ours),
)


def befores_with(*brief: "Before") -> pytest.MarkDecorator:
    """All of them, `brief` ones in `make test`, too."""
    values = [
        pytest.param(each, id=each.__name__, marks=[] if each in brief else pytest.mark.thorough)
        for each in BEFORE
    ]
    return pytest.mark.parametrize("before", values)


Before = Callable[[Path, tuple[BuiltTree, ...]], None]


def theirs(seen: Picture) -> Picture:
    """What is not ours."""
    return {path: about for path, about in seen.items() if not path.startswith(".amdcni")}


def executables(trees: tuple[BuiltTree, ...]) -> list[tuple[object, ...]]:
    return [("file", tree.launcher, 0o755) for tree in trees]


@befores_with(foreign_file, damaged)
def test_an_installation_killed_anywhere_leaves_a_whole_executable_and_is_completed_by_the_next(
    before: Before, trees: tuple[BuiltTree, ...], memory: Path
) -> None:
    killed, number = True, 0
    while killed:
        number += 1
        bin_dir = memory / str(number)
        bin_dir.mkdir()
        before(bin_dir, trees)
        was = picture(bin_dir).get("amd-host-device")
        killed = killed_at(number, lambda at=bin_dir: install(at, trees[1], frozenset()))  # type: ignore[misc]
        now = picture(bin_dir).get("amd-host-device")
        assert now == was or (now is not None and now[:3] in executables(trees)), number
        if now != was:
            whole = bin_dir / ".amdcni" / trees[1].name
            assert picture(whole).keys() == picture(trees[1].path).keys(), number
        install(bin_dir, trees[1], frozenset())
        assert is_installed(bin_dir, trees[1]), number
        assert not list(bin_dir.glob(".amdcni/.new-*")), number
        shutil.rmtree(bin_dir)
    assert number > 5


@befores_with(foreign_link, older_version)
def test_a_removal_killed_anywhere_is_completed_by_the_next(
    before: Before, trees: tuple[BuiltTree, ...], memory: Path
) -> None:
    killed, number = True, 0
    while killed:
        number += 1
        bin_dir = memory / str(number)
        bin_dir.mkdir()
        before(bin_dir, trees)
        there = theirs(picture(bin_dir))
        if before in (older_version, damaged):
            (bin_dir / "amd-host-device").unlink()
            (kept,) = bin_dir.glob(".amdcni/kept/*")
            there["amd-host-device"] = picture(kept.parent)[kept.name]
            install(bin_dir, trees[2])
        elif before is two_older_versions:
            there["amd-host-device"] = ("link", "/opt/amdcni/bin/amd-host-device")
        elif before is newer_version:
            del there["amd-host-device"]
        install(bin_dir, trees[1])
        killed = killed_at(number, lambda at=bin_dir: uninstall(at))  # type: ignore[misc]
        now = picture(bin_dir).get("amd-host-device")
        if "amd-host-device" in there:
            assert now is not None, number
            assert now == there["amd-host-device"] or now[:3] in executables(trees), number
        assert uninstall(bin_dir) == (), number
        assert picture(bin_dir) == there, number
        shutil.rmtree(bin_dir)
    assert number > 5


@befores_with(foreign_file)
def test_an_installation_that_fails_anywhere_leaves_everything_as_it_was(
    before: Before, trees: tuple[BuiltTree, ...], memory: Path
) -> None:
    failed = False

    def fail() -> None:
        nonlocal failed
        failed = True
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    bin_dir = memory / "bin"
    for number in itertools.count(1):
        shutil.rmtree(bin_dir, ignore_errors=True)
        bin_dir.mkdir()
        before(bin_dir, trees)
        there, failed = picture(bin_dir), False
        refusal = refused(lambda: install(bin_dir, trees[1], frozenset()), number, fail)
        if not failed:
            break
        if refusal is None:
            # What need not be there need not be removed.
            assert is_installed(bin_dir, trees[1])
            continue
        assert "No space left" in refusal
        perform(plan_cleanup(read_tree(trees[1].path), look(bin_dir)), bin_dir)
        if picture(bin_dir) != there:
            # The executable had been replaced, or at least noted, before.
            noted = trees[1].name in (bin_dir / ".amdcni/installed.json").read_text()
            assert noted, number
            # What was damaged before may be repaired only in part.
            assert before is damaged or picture(bin_dir / ".amdcni" / trees[1].name).keys() == (
                picture(trees[1].path).keys()
            )
        install(bin_dir, trees[1], frozenset())
        assert is_installed(bin_dir, trees[1])
    assert number > 30


def refused(act: Callable[[], None], number: int, fail: Callable[[], None]) -> str | None:
    """Act, with a failure before the change with this number; what the refusal says."""
    try:
        before_change(number, fail)
        act()
    except InstallFailed as failure:
        return str(failure)
    finally:
        sys.setprofile(None)
    return None


# ---- anything in any order

OPERATIONS = st.one_of(
    st.tuples(st.just("install"), st.integers(0, 2), st.integers(1, 70)),
    st.tuples(st.just("uninstall"), st.just(0), st.integers(1, 60)),
    st.tuples(st.just("foreign"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("damage"), st.integers(0, 9), st.just(0)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATIONS, max_size=6), last=st.integers(0, 2))
def test_in_any_order_the_executable_is_whole_and_the_removal_gives_everything_back(
    operations: list[tuple[str, int, int]],
    last: int,
    trees: tuple[BuiltTree, ...],
    memory: Path,
) -> None:
    bin_dir = Path(tempfile.mkdtemp(dir=memory))
    nothing(bin_dir, trees)
    launchers = [tree.launcher for tree in trees]
    contents: list[bytes] = []
    executable = bin_dir / "amd-host-device"
    for kind, which, number in operations:
        was = executable.read_bytes() if executable.exists() else None
        if kind == "install":
            tree = trees[which]
            killed_at(number, lambda tree=tree: install(bin_dir, tree, frozenset()))  # type: ignore[misc]
        elif kind == "uninstall":
            killed_at(number, lambda: uninstall(bin_dir))
        elif kind == "foreign":
            kept = [file.read_bytes() for file in bin_dir.glob(".amdcni/kept/*")]
            # Its owner replaces it: it is not for us to keep.
            contents = [each for each in contents if each != was or each in kept]
            executable.unlink(missing_ok=True)
            executable.write_bytes(FOREIGN + bytes([which]))
            contents += [executable.read_bytes()]
        else:
            files = sorted(bin_dir.glob(".amdcni/*-*/**/*.py"))
            for file in files[which : which + 1]:
                file.write_bytes(b"damaged")
        if kind in ("install", "uninstall"):
            now = executable.read_bytes() if executable.exists() else None
            assert (
                now == was
                or now in launchers
                or now in contents
                or (now is None and kind == "uninstall" and not contents)
            )
            # What somebody else has put there is never lost.
            kept = [file.read_bytes() for file in bin_dir.glob(".amdcni/kept/*")]
            assert {*contents} <= {now, *kept}
    install(bin_dir, trees[last], frozenset())
    assert is_installed(bin_dir, trees[last])
    # What a damaged file has become stays, and is named.
    install(bin_dir, trees[last], frozenset())
    stays = uninstall(bin_dir)
    left = {path for path, about in picture(bin_dir).items() if about[0] == "file"}
    expected = {"bridge"} | ({"amd-host-device"} if contents else set())
    assert left - expected == {note.split(" stays")[0] for note in stays}
    if contents:
        assert executable.read_bytes() == contents[-1]


# ---- two at once


def test_two_installations_at_once_both_succeed(
    trees: tuple[BuiltTree, ...], tmp_path: Path
) -> None:
    foreign_file(tmp_path, trees)
    children = []
    for tree in (*trees, *trees):
        child = os.fork()
        if child == 0:
            words = ["install", "--bin-dir", str(tmp_path), "--from", str(tree.path)]
            os._exit(main(words, io.StringIO(), sys.stderr))
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    assert sum(is_installed(tmp_path, tree) for tree in trees) == 1
    assert len(list(tmp_path.glob(".amdcni/kept/*"))) == 1
    assert not list(tmp_path.glob(".amdcni/.new-*"))
