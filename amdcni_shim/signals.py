"""SIGTERM and SIGINT as failures of the call, so that what was begun is undone and answered."""

import signal
from types import FrameType

from amdcni.core.errors import TryAgainLater


def fail_when_asked_to_end() -> None:
    """Raise TryAgainLater at the first SIGTERM or SIGINT; further ones do not disturb the undo."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _fail)


def _fail(number: int, _: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    raise TryAgainLater(f"ended by {signal.Signals(number).name} before the work was done")
