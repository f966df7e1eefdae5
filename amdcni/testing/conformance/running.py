"""Running the suite from a program: in this process, and undisturbed by any other pytest plugin."""

import contextlib
import io
import os
from pathlib import Path

import pytest
from attrs import frozen

from amdcni.testing.conformance.findings import Collector, Finding
from amdcni.testing.conformance.subject import WrongSubject

_SUITE = Path(__file__).parent
_DONE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


@frozen
class Wanted:
    """What is to be judged, and where the JUnit file goes; `None` leaves it to the suite."""

    plugin: str
    config: str | None = None
    path: str | None = None
    ifname: str | None = None
    junit: str | None = None
    only: str | None = None


def judge(wanted: Wanted) -> tuple[Finding, ...]:
    """Run the clauses on a plugin and return what became of each.

    Raises:
        WrongSubject: the run could not begin; the message says why.
    """
    collector, said = Collector(), io.StringIO()
    # Other plugins of this Python could change the order, the output or the outcome.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = pytest.main(_arguments(wanted), plugins=[collector])
    if status not in _DONE:
        raise WrongSubject(said.getvalue().strip().removeprefix("ERROR: "))
    return tuple(collector.findings)


def _arguments(wanted: Wanted) -> list[str]:
    options = {
        "--cni-plugin": wanted.plugin,
        "--cni-config": wanted.config,
        "--cni-path": wanted.path,
        "--cni-ifname": wanted.ifname,
        "--junitxml": wanted.junit,
        "-k": wanted.only,
    }
    given = [text for name, value in options.items() if value is not None for text in (name, value)]
    # Neither settings nor a conftest.py of the folder that this is called in has a say.
    alone = ["-c", os.devnull, f"--rootdir={_SUITE}", f"--confcutdir={_SUITE}"]
    plugins = ["-p", "amdcni.testing.pytest_plugin", "-p", "no:cacheprovider"]
    return [str(_SUITE), *alone, *plugins, *given]
