"""When calls that are not about unfinished work try it again: less and less often.

A call about the device itself, and a person, always try.
"""

from typing import Final

import attrs

FIRST_PAUSE_S: Final = 10
"""How long work is left alone after its first failure; each further failure doubles that."""

LONGEST_PAUSE_S: Final = 3600

_MOST_DOUBLINGS: Final = 16


@attrs.frozen
class Attempts:
    """What all calls have found out about unfinished work in the boot `boot_id` since it began.

    It has failed `failures` times, and before `next_s` (CLOCK_BOOTTIME, whole seconds) no call that
    is not about it tries again.  `home` is whether only the calls of plugins are left.
    """

    boot_id: str
    failures: int = 0
    next_s: int = 0
    home: bool = False


def after_failure(seen: Attempts | None, boot_id: str, now_s: int, *, home: bool) -> Attempts:
    """What to note after one more failure."""
    failures = 1 + (seen.failures if seen is not None and seen.boot_id == boot_id else 0)
    pause_s = min(FIRST_PAUSE_S * 2 ** min(failures - 1, _MOST_DOUBLINGS), LONGEST_PAUSE_S)
    return Attempts(boot_id, failures, now_s + pause_s, home)


def before_homecoming(seen: Attempts | None, boot_id: str, now_s: int) -> Attempts:
    """What to note before the netdev is brought home once more: a call may be killed amid that.

    The next call may then go on at once.
    """
    failures = seen.failures if seen is not None and seen.boot_id == boot_id else 0
    return Attempts(boot_id, failures, now_s)


def after_homecoming(seen: Attempts | None, boot_id: str, now_s: int) -> Attempts:
    """What to note once only the calls of plugins are left, which may be tried now."""
    failures = seen.failures if seen is not None and seen.boot_id == boot_id else 0
    return Attempts(boot_id, failures, now_s, home=True)


def is_due(seen: Attempts | None, boot_id: str, now_s: int) -> bool:
    """Whether work may be tried now by calls that are not about it.

    What is from another boot, or is impossible, holds nobody back.
    """
    if seen is None or seen.boot_id != boot_id:
        return True
    return not now_s < seen.next_s <= now_s + LONGEST_PAUSE_S


def pause_left_s(seen: Attempts | None, boot_id: str, now_s: int) -> int:
    """For how many seconds calls that are not about the work leave it alone; 0 if it is due."""
    return 0 if seen is None or is_due(seen, boot_id, now_s) else seen.next_s - now_s


def is_home(seen: Attempts | None, boot_id: str) -> bool:
    """Whether only the calls of plugins are left of the work."""
    return seen is not None and seen.boot_id == boot_id and seen.home


# ---- as bytes


def to_bytes(attempts: Attempts) -> bytes:
    """One line: the boot, the failures, the time, and `home` or `away`."""
    place = "home" if attempts.home else "away"
    return f"{attempts.boot_id} {attempts.failures} {attempts.next_s} {place}\n".encode()


def parse_attempts(data: bytes) -> Attempts | None:
    """What `to_bytes` has written; None for anything else."""
    try:
        boot_id, failures, next_s, place = data.decode().split()
        attempts = Attempts(boot_id, int(failures), int(next_s), place == "home")
    except ValueError:
        return None
    return attempts if to_bytes(attempts) == data else None
