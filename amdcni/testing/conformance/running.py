"""Running the suite from a program: in this process, and undisturbed by any other pytest plugin."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from amdcni.testing.conformance.findings import Collector, Finding
from amdcni.testing.conformance.subject import CannotJudge, read_subject
from amdcni.testing.isolation import skip_reason

_SUITE = Path(__file__).parent
_DONE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


@frozen
class Wanted:
    """What is to be judged, and where the JUnit file goes; `None` leaves it to the suite."""

    plugin: str
    config: str | None = None
    path: str | None = None
    ifname: str | None = None
    timeout_s: float | None = None
    junit: str | None = None
    only: str | None = None


def judge(wanted: Wanted) -> tuple[Finding, ...]:
    """Run the clauses on a plugin and return what became of each.

    Raises:
        CannotJudge: the run could not begin; the message says why.
    """
    read_subject(wanted.plugin, wanted.config)
    reason = skip_reason()
    if reason is not None:
        raise CannotJudge(reason)
    collector, said = Collector(), io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        _without_other_plugins(),
    ):
        status = pytest.main(_arguments(wanted), plugins=[collector])
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise CannotJudge(f"no clause has {wanted.only!r} in its name")
    if status not in _DONE:
        raise CannotJudge(said.getvalue().strip().rpartition("ERROR: ")[2])
    return tuple(collector.findings)


@contextlib.contextmanager
def _without_other_plugins() -> Iterator[None]:
    """Keep away what else is installed: it could change the order, the output or the outcome."""
    name = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _arguments(wanted: Wanted) -> list[str]:
    options = {
        "--cni-plugin": wanted.plugin,
        "--cni-config": wanted.config,
        "--cni-path": wanted.path,
        "--cni-ifname": wanted.ifname,
        "--cni-timeout": None if wanted.timeout_s is None else str(wanted.timeout_s),
        "--junitxml": wanted.junit,
        "-k": wanted.only,
    }
    given = [text for name, value in options.items() if value is not None for text in (name, value)]
    # Neither settings nor a conftest.py of the folder that this is called in has a say.
    alone = ["-c", os.devnull, f"--rootdir={_SUITE}", f"--confcutdir={_SUITE}"]
    plugins = ["-p", "amdcni.pytest_plugin", "-p", "no:cacheprovider"]
    return [str(_SUITE), *alone, *plugins, *given]
