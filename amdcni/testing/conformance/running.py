"""Running the suite from a program: in this process, and undisturbed by any other pytest plugin."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from amdcni.testing.conformance.findings import Collector, Report
from amdcni.testing.conformance.subject import CannotJudge, read_subject
from amdcni.testing.isolation import skip_reason

_SUITE = Path(__file__).parent
_DONE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


@frozen
class Wanted:
    """What to judge, and where the JUnit file goes; `None` leaves it to the suite.

    `files` are written by the caller afterwards, so it has to be possible.

    Clauses with one of `only` in their sentence are tried, and none with one of `skip`.
    """

    plugin: str
    config: str | None = None
    path: str | None = None
    ifname: str | None = None
    timeout_s: float | None = None
    junit: str | None = None
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@frozen
class Run:
    """How a run went.

    `no_add` is why no ADD has worked, which makes most clauses not applicable; None if one has.
    `not_tried` counts the clauses that were left out, or were to come when it was `interrupted`.
    """

    no_add: str | None
    not_tried: int
    interrupted: bool = False


def judge(wanted: Wanted, report: Report) -> Run:
    """Run the clauses on a plugin, and report the finding on each as soon as it is known.

    What `report` writes to stdout or stderr meanwhile goes nowhere, as what pytest writes.

    Raises: CannotJudge if the run could not begin; the message says why.
    """
    read_subject(wanted.plugin, wanted.config, wanted.path)
    given = (*wanted.files, *filter(None, [wanted.junit]))
    reason = skip_reason() or next(filter(None, map(_refused, given)), None)
    if reason is not None:
        raise CannotJudge(reason)
    collector, said = Collector(report, wanted.only, wanted.skip), io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        tempfile.TemporaryDirectory(prefix="amdcni-conformance-") as scratch,
        _alone(),
    ):
        status = pytest.main(_arguments(wanted, scratch), plugins=[collector])
    why = collector.adds.why_none_worked
    if isinstance(collector.ended_by, KeyboardInterrupt):
        return Run(why, collector.not_tried, interrupted=True)
    if collector.ended_by is not None:
        raise CannotJudge(str(collector.ended_by))
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise CannotJudge("no clause has these words in its sentence")
    if status not in _DONE or not collector.count:
        raise CannotJudge(said.getvalue().strip().rpartition("ERROR: ")[2])
    return Run(why, collector.not_tried)


def _refused(path: str) -> str | None:
    """Why a file cannot be written, which would be found out only at the end."""
    was_there = os.path.lexists(path)
    try:
        Path(path).open("a").close()
        if not was_there:
            os.unlink(path)
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}"
    return None


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep out other plugins and settings: they could change order, output or outcome."""
    before = {name: value for name, value in os.environ.items() if name.startswith("PYTEST_")}
    try:
        for name in before:
            del os.environ[name]
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        yield
    finally:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        os.environ.update(before)


def _arguments(wanted: Wanted, scratch: str) -> list[str]:
    options = {
        "--cni-plugin": wanted.plugin,
        "--cni-config": wanted.config,
        "--cni-path": wanted.path,
        "--cni-ifname": wanted.ifname,
        "--cni-timeout": None if wanted.timeout_s is None else str(wanted.timeout_s),
        "--junitxml": wanted.junit,
        "--basetemp": f"{scratch}/tests",
    }
    given = [text for name, value in options.items() if value is not None for text in (name, value)]
    # Settings and any conftest.py of the folder that this is called in have no effect.
    alone = ["-c", os.devnull, f"--rootdir={_SUITE}", f"--confcutdir={_SUITE}"]
    plugins = ["-p", "amdcni.pytest_plugin", "-p", "no:cacheprovider"]
    return [str(_SUITE), *alone, *plugins, *given]
