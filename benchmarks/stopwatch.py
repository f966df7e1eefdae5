"""Times whole processes; a script that runs inside a node with `python -I -S`.

Standard input is a JSON list of jobs, each `{"argv": [...], "env": {...}, "stdin": "..."}`, which
are executed one after the other.  Standard output is a list with what each took and answered.
"""

import json
import os
import sys
import tempfile
import time
from typing import Any, BinaryIO


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Execute a job from its start until the parent has its exit status."""
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(job["stdin"].encode())
        stdin.seek(0)
        files = enumerate((stdin, stdout, stderr))
        actions = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number, file in files]
        started_s = time.perf_counter()
        pid = os.posix_spawnp(job["argv"][0], job["argv"], job["env"], file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        return {
            "wall_s": time.perf_counter() - started_s,
            # This includes what its children used, if it has waited for them.
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "exit_status": os.waitstatus_to_exitcode(status),
            "stdout": _content(stdout),
            "stderr": _content(stderr),
        }


def _content(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


if __name__ == "__main__":
    json.dump([run(job) for job in json.load(sys.stdin)], sys.stdout)
