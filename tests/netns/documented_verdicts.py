"""What the documentation says that the conformance suite finds of well-known plugins."""

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs/explanation/conformance.md"
VERDICTS = {"✓": "passed", "✗": "failed", "n/a": "not applicable"}
DOCUMENTED = ("amd-host-device", "host-device", "bridge", "ptp", "loopback")
"""The plugins of which every verdict is documented."""

DEBIAN_12 = "1.1.1"
"""The version of the plugins that were judged."""


def table_after(heading: str) -> list[list[str]]:
    """Return the rows of the table that begins with this line of the page."""
    rows = []
    for line in PAGE.read_text().partition(f"\n{heading}")[2].splitlines()[2:]:
        if not line.startswith("| "):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split(" | ")])
    return rows


def configuration_of(name: str) -> dict[str, Any]:
    """Return the configuration with which one of `DOCUMENTED` was judged."""
    found: dict[str, Any] = json.loads(dict(table_after("| plugin | configuration |"))[name])
    return found


def verdicts_on(name: str) -> dict[str, str]:
    """Return the verdict on one of `DOCUMENTED` by each clause."""
    column = 2 + DOCUMENTED.index(name)
    return {row[0]: VERDICTS[row[column]] for row in table_after("| clause |")}


def verdicts_of_others() -> dict[str, set[tuple[str, str]]]:
    """What is documented of each plugin that is judged by its built-in configuration."""
    found: dict[str, set[tuple[str, str]]] = {}
    for name, level, clause in table_after("| plugin | level |"):
        found.setdefault(name, set()).add((level, clause))
    return found
