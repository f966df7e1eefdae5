"""What a start of amd-host-device imports, and how often an interpreter starts for it.

In the node, and only there, a script covers the file of the interpreter (a bind mount in the node's
mount namespace).  It notes each start and becomes the interpreter with `-X importtime`.  So the
executable is the installed one, unchanged, and no start of its interpreter goes unseen.
"""

import os
import re
from typing import Final

from attrs import frozen

from amdcni.testing import Node
from benchmarks.stage import PYTHON, Job

_FOLDER: Final = "/run/traced"
# bash, because the interpreter finds its virtual environment by argv[0].  The arguments of a start
# may have several lines.
_SCRIPT: Final = f"""\
#!/bin/bash -p
printf '%s\\0' "$*" >>{_FOLDER}/starts
exec -a "$0" {_FOLDER}/python -X importtime "$@"
"""
_HEADER: Final = "import time: self [us] | cumulative | imported package\n"
_LINE: Final = re.compile(
    r"import time: +(?P<own>\d+) \| +\d+ \| (?P<indent> *)(?P<module>[\w.]+)\n"
)


@frozen
class Import:
    """A module that was imported; `own_us` is without what it imports itself.

    `parents` are the modules whose import led to it, the nearest first.
    """

    module: str
    own_us: int
    parents: tuple[str, ...]

    @property
    def package(self) -> str:
        """The top-level package of the module."""
        return self.module.partition(".")[0]


@frozen
class Trace:
    """What one execution did: its imports, the arguments of each interpreter, and its outcome."""

    imports: tuple[Import, ...]
    starts: tuple[str, ...]
    exit_status: int
    stdout: str
    stderr: str

    @property
    def packages(self) -> list[str]:
        """The top-level packages, each as often as it was imported."""
        return [each.module for each in self.imports if each.module == each.package]


class Tracer:
    """Traces all Python in a node, from now on."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._starts = node.root / _FOLDER.lstrip("/") / "starts"
        folder = self._starts.parent
        folder.mkdir()
        (folder / "python").touch()
        (folder / "script").write_text(_SCRIPT)
        (folder / "script").chmod(0o755)
        interpreter = os.path.realpath(PYTHON)
        node.output_of(["mount", "--bind", interpreter, f"{_FOLDER}/python"])
        node.output_of(["mount", "--bind", f"{_FOLDER}/script", interpreter])

    def run(self, job: Job) -> Trace:
        """Execute a job."""
        self._starts.write_text("")
        done = self._node.run(job.argv, stdin=job.stdin.encode(), env=job.env)
        stderr = done.stderr.decode(errors="replace")
        return Trace(
            imports=imports_of(stderr),
            starts=tuple(self._starts.read_text().split("\0")[:-1]),
            exit_status=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=_LINE.sub("", stderr).replace(_HEADER, ""),
        )


def imports_of(stderr: str) -> tuple[Import, ...]:
    """The imports that `-X importtime` listed on standard error, in order.

    The line of a module comes when it has been imported, after the lines of what it imported.
    """
    imports: list[Import] = []
    ancestors: list[str] = []
    for match in reversed(list(_LINE.finditer(stderr))):
        del ancestors[len(match["indent"]) // 2 :]
        imports.append(Import(match["module"], int(match["own"]), tuple(reversed(ancestors))))
        ancestors.append(match["module"])
    return tuple(reversed(imports))
