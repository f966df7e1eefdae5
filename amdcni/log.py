"""Log lines by structlog, on stderr and, if wanted, in a file; loaded for the first line."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from amdcni.core.places import Place
from amdcni.core.request import LogLevel
from amdcni.effects.trust import open_to_append

_ORDER: Final = list(LogLevel)

Log = Callable[..., None]
"""Called as `log(level, event, **facts)`."""


class Stream(Protocol):
    """What `print` needs of a file."""

    def write(self, text: str, /) -> object:
        """Take `text`, which is perhaps not a whole line."""

    def flush(self) -> object:
        """Write all that was taken."""


def make_log(least: LogLevel, file: Place | None, stderr: Stream, **context: object) -> Log:
    """A log that writes lines of at least the level `least`, each with `context`.

    A log file that cannot be written is reported on stderr; a stderr that cannot be written is
    ignored.
    """

    def log(level: LogLevel, event: str, **facts: object) -> None:
        if _ORDER.index(level) >= _ORDER.index(least):
            _write(file, stderr, level, event, {**context, **facts})

    return log


def _write(
    file: Place | None, stderr: Stream, level: LogLevel, event: str, facts: dict[str, Any]
) -> None:
    import structlog

    render = structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "event"], bool_as_flag=False
    )
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    entry: dict[str, Any] = {"level": level.value, "event": event}
    entry |= {name: str(fact) for name, fact in facts.items() if fact is not None}
    line = str(render(None, "", stamp(None, "", entry)))
    _say(line, stderr)
    if file is not None:
        try:
            # A plugin's answer, as JSON, may contain what UTF-8 cannot encode.
            with os.fdopen(open_to_append(file), "wb") as opened:
                opened.write(f"{line}\n".encode(errors="backslashreplace"))
        except OSError as error:
            _say(f"logFile {file.path!r}: {error.strerror}", stderr)


def _say(line: str, stderr: Stream) -> None:
    with suppress(OSError):
        print(line, file=stderr, flush=True)
