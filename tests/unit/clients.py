"""The clients of the agent as executables, with a socket and times of the test's own.

`PYTHON` is the program of the launcher in sh, and `STATIC` the launcher in C, built with the
sanitizers of the compiler.  Both find their packages and their interpreter in one environment.
"""

import functools
import io
import os
import shutil
import site
import subprocess
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen

from amdcni_shim.__main__ import main
from tests.patience import PATIENCE_S

ROOT: Final = Path(__file__).parents[2]
BUILD: Final = ROOT / "scripts/build-launcher.sh"
SANITIZERS: Final = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

Environ = Mapping[str, str] | Mapping[bytes, bytes]


@frozen
class Times:
    """How long a client waits, in milliseconds."""

    accept: int
    begin: int
    answer: int


PATIENT: Final = Times(300_000, 300_000, 300_000)
"""Longer than anything takes."""

HASTY: Final = Times(200, 50, 400)
"""For an agent that never says what is awaited."""


@functools.cache
def folder() -> Path:
    """The folder with the socket and an environment for both clients."""
    made = tempfile.TemporaryDirectory(prefix="amdcni-client-")
    _FOLDERS.append(made)
    home = Path(made.name)
    venv.create(home, symlinks=True)
    # An addsitedir() also reads the .pth file by which an editable project is found.
    packages = "".join(f"import site; site.addsitedir({p!r})\n" for p in site.getsitepackages())
    (found,) = home.glob("lib/python*/site-packages")
    (found / "these.pth").write_text(packages)
    return home


_FOLDERS: Final[list[tempfile.TemporaryDirectory[str]]] = []


def socket_path() -> Path:
    return folder() / "agent.sock"


@functools.cache
def python_program() -> str:
    """The program with which the launcher in sh starts the interpreter."""
    text = (ROOT / "launchers/amd-host-device").read_text()
    return text.rpartition("-c '")[2].rpartition('\' "$@"')[0]


@functools.cache
def built(times: Times) -> Path:
    """The launcher in C, with sanitizers, beside the interpreter."""
    output = folder() / "bin" / f"static-{times.accept}"
    values = {
        "AGENT_SOCKET": f'"{socket_path()}"',
        "ACCEPT_MS": times.accept,
        "BEGIN_MS": times.begin,
        "ANSWER_MS": times.answer,
    }
    build(output, *SANITIZERS, *(f"-D{name}={value}" for name, value in values.items()))
    return output


def build(output: Path, *options: str) -> None:
    """Build the launcher in C as `make launcher` does, or with other options of the compiler."""
    found = shutil.which("cc")
    if found is None:
        pytest.skip("there is no C compiler (package gcc)")
    static = all(option.startswith("-D") for option in options)
    environ = os.environ if static else {**os.environ, "CC": found}
    subprocess.run([BUILD, output, *options], env=environ, check=True)


@frozen
class Client:
    """One of the clients; `name` is `python` or `static`."""

    name: str

    def argv(self, times: Times = PATIENT, *arguments: str) -> list[str]:
        if self.name == "static":
            return [str(built(times)), *arguments]
        seconds = ", ".join(str(each / 1000) for each in (times.accept, times.begin, times.answer))
        run = f"run({os.fsencode(socket_path())!r}, {seconds})"
        program = python_program().replace("run()", run)
        return [str(folder() / "bin/python3"), "-I", "-S", "-c", program, *arguments]

    def start(
        self,
        environ: Environ,
        *,
        times: Times = PATIENT,
        redirection: str = "",
        cwd: Path = Path("/"),
        umask: int = -1,
    ) -> "subprocess.Popen[bytes]":
        argv = self.argv(times)
        if redirection:
            argv = ["/bin/sh", "-c", f'exec "$0" "$@" {redirection}', *argv]
        return subprocess.Popen(
            argv,
            env=environ,
            cwd=cwd,
            umask=umask,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self,
        environ: Environ,
        stdin: bytes = b"",
        *,
        times: Times = PATIENT,
        redirection: str = "",
        cwd: Path = Path("/"),
        umask: int = -1,
    ) -> "subprocess.CompletedProcess[bytes]":
        process = self.start(environ, times=times, redirection=redirection, cwd=cwd, umask=umask)
        with process:
            stdout, stderr = process.communicate(stdin, timeout=PATIENCE_S)
        for trouble in (b"Traceback", b"Sanitizer", b"runtime error"):
            assert trouble not in stderr, stderr.decode(errors="replace")
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


CLIENTS: Final = (Client("python"), Client("static"))


def alone(environ: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
    """The status and output of the plugin for a call that no agent serves."""
    out, err = io.StringIO(), io.StringIO()
    status = main(environ, io.BytesIO(stdin), out, err)
    return status, out.getvalue().encode()
