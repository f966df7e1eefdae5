"""Plays `test_any_order.py` with new random seeds until time is up; `make fuzz` runs it.

Usage: `python -m tests.netns.fuzz MINUTES [SEED]`.  With a seed, it plays only the round of that
seed.
"""

import math
import secrets
import sys
import time
import traceback
from collections.abc import Iterator

from tests import profiles
from tests.netns.runtime import OURS
from tests.netns.test_any_order import TimeIsOver, happened, play


def main(minutes: float, seed: int | None) -> int:
    """Play, print what happened, and return the exit status."""
    until = math.inf if seed is not None else time.monotonic() + minutes * 60
    for number in seeds() if seed is None else [seed]:
        print(f"seed {number}", flush=True)
        try:
            # Every other round goes through an agent.
            play(OURS, profiles.KERNEL["deep"], number, until, served=number % 2 == 1)
        except TimeIsOver:
            break
        except Exception:
            traceback.print_exc()
            report()
            print(f"\nTo play this round again: make fuzz SEED={number}")
            return 1
    report()
    return 0


def seeds() -> Iterator[int]:
    """Yield random seeds."""
    while True:
        yield secrets.randbits(32)


def report() -> None:
    """Print how much was played, and how often each thing happened."""
    examples, steps = happened.pop("example", 0), happened.pop("step", 0)
    print(f"{examples} examples, {steps} steps")
    for what, count in sorted(happened.items()):
        print(f"{count:7} {what}")


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None))
