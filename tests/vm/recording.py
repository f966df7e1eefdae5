"""Inside the machine: writes down pytest's reports as they come, one JSON object a line."""

import json
import os
from typing import Final

import pytest

REPORTS: Final = "AMDCNI_VM_REPORTS"
"""The variable with the path of the file; only inside the machine it is set."""


class Recorder:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        with open(os.environ[REPORTS], "a", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")
