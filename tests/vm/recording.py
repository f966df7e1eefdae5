"""Inside the machine: records what the tests report and what they are doing, as it happens.

The folder that `OUT` names gets two files with one JSON value per line: `reports`, pytest's own,
and `signs`, one for each test that begins and each program that is started.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import pytest

OUT: Final = "AMDCNI_VM_OUT"
"""The variable with the path of the folder, which is set only inside the machine."""


class Recorder:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        # They stay open: each opening asks the computer outside several times.
        self._files = {
            name: os.open(Path(os.environ[OUT], name), flags) for name in ("reports", "signs")
        }
        sys.addaudithook(self._audit)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write("signs", {"test": nodeid})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        self._write("reports", data)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            _, argv, *_ = arguments
            self._write("signs", {"started": [os.fsdecode(word) for word in argv]})

    def _write(self, name: str, value: Any) -> None:
        os.write(self._files[name], f"{json.dumps(value)}\n".encode())
