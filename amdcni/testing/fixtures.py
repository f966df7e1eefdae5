"""Pytest fixtures; the only module of the test kit that needs pytest."""

import shlex
import stat
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdcni.testing.isolation import skip_reason
from amdcni.testing.node import Node, throwaway_node

_PLUGIN = "amd-host-device"


@pytest.fixture
def node() -> Iterator[Node]:
    """A throwaway node for one test, or a skip that says why there is none."""
    reason = skip_reason()
    if reason is not None:
        pytest.skip(reason)
    with throwaway_node() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executable `amd-host-device`: the installed one, or else one that runs this source."""
    installed = Path(sysconfig.get_path("scripts")) / _PLUGIN
    if installed.exists():
        return installed
    source = Path(__file__).parents[2]
    launcher = tmp_path_factory.mktemp("bin") / _PLUGIN
    program = (
        f"import sys; sys.path.insert(0, {str(source)!r});"
        " from amdcni_shim.__main__ import run; run()"
    )
    command = shlex.join([sys.executable, "-I", "-c", program])
    launcher.write_text(f"#!/bin/sh\nexec {command}\n")
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return launcher
