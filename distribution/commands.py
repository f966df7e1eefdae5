"""Running the tools that builds need."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class BuildFailed(Exception):
    """Why something was not built."""


class CannotBuild(BuildFailed):
    """This machine is not one on which it can be built; the message says what it lacks."""


def run(
    argv: Sequence[str | Path], cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> str:
    """What a command prints, in this process's environment or in another one.

    Raises: BuildFailed, with the last that the command said.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise BuildFailed(f"{argv[0]} does not start: {error.strerror}") from None
    if done.returncode != 0:
        said = "; ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        command = " ".join(map(str, argv[:3]))
        raise BuildFailed(f"{command} ... ended with {done.returncode}: {said}")
    return done.stdout
