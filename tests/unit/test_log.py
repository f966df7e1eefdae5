"""Log lines: which are written, where and in what form; and that none can fail a call."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.names import FilePath
from amdcni.core.places import Place
from amdcni.core.request import LogLevel
from amdcni.log import make_log

LEVELS = list(LogLevel)


def place_of(file: Path | None) -> Place | None:
    return None if file is None else Place(str(file.parent), FilePath(str(file)))


def lines(
    least: LogLevel, file: Path | None, *logged: tuple[LogLevel, str, dict[str, Any]]
) -> list[str]:
    stderr = io.StringIO()
    log = make_log(least, place_of(file), stderr, verb="ADD", network="fabric")
    for level, event, facts in logged:
        log(level, event, **facts)
    return stderr.getvalue().splitlines()


@pytest.mark.parametrize("least", LEVELS)
def test_only_lines_of_at_least_the_level_are_written(least: LogLevel) -> None:
    written = lines(least, None, *((level, f"said-{level}", {}) for level in LEVELS))
    expected = LEVELS[LEVELS.index(least) :]
    assert [line.split()[2] for line in written] == [f"event=said-{level}" for level in expected]


def test_a_line_has_time_level_event_and_facts() -> None:
    facts = {"device": "0000:01:00.0", "reason": "it is so", "absent": None}
    (line,) = lines(LogLevel.WARNING, None, (LogLevel.WARNING, "healed", facts))
    stamp, *rest = line.split(" ", 3)
    assert stamp.startswith("timestamp=20")
    assert rest[:2] == ["level=warning", "event=healed"]
    assert rest[2] == 'verb=ADD network=fabric device=0000:01:00.0 reason="it is so"'


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_fact_splits_a_line(reason: str, device: str) -> None:
    stderr = io.StringIO()
    make_log(LogLevel.WARNING, None, stderr)(LogLevel.ERROR, "failed", reason=reason, device=device)
    assert stderr.getvalue().count("\n") == 1
    assert stderr.getvalue().endswith("\n")


def test_a_log_file_gets_the_same_lines_appended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    written = lines(
        LogLevel.INFO, path, (LogLevel.INFO, "done", {}), (LogLevel.DEBUG, "unheard", {})
    )
    assert path.read_text().splitlines() == ["before", *written]


@pytest.mark.parametrize("file", ["/proc/nothing/here", "/etc", "/dev/full"])
def test_an_unwritable_log_file_is_reported_and_fails_no_call(file: str) -> None:
    written = lines(LogLevel.INFO, Path(file), (LogLevel.ERROR, "failed", {}))
    assert "event=failed" in written[0]
    assert file in written[1]
    assert len(written) == 2


def test_a_fact_that_cannot_be_encoded_fails_no_call(tmp_path: Path) -> None:
    lines(
        LogLevel.INFO,
        tmp_path / "log",
        (LogLevel.ERROR, "failed", {"reason": "a plugin said \ud800"}),
    )
    assert "event=failed" in (tmp_path / "log").read_text()


class Closed(io.StringIO):
    """A stderr whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_stderr_that_nobody_reads_fails_no_call(tmp_path: Path) -> None:
    path = tmp_path / "log"
    make_log(LogLevel.INFO, place_of(path), Closed())(LogLevel.INFO, "done")
    assert "event=done" in path.read_text()
