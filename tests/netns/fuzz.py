"""Plays `test_any_order.py` with fresh random seeds until a time is over; `make fuzz` runs it.

Usage: `python -m tests.netns.fuzz MINUTES [SEED]`.  With a seed, it plays the round of that seed
and no other.
"""

import secrets
import sys
import sysconfig
import time
import traceback
from pathlib import Path

from tests import profiles
from tests.netns.test_any_order import happened, play

PLUGIN = Path(sysconfig.get_path("scripts")) / "amd-host-device"


def main(minutes: float, seed: int | None) -> int:
    """Play, print what happened, and return the exit status."""
    deadline, rounds = time.monotonic() + minutes * 60, 0
    failed = False
    while not failed and (rounds == 0 or (seed is None and time.monotonic() < deadline)):
        rounds += 1
        number = secrets.randbits(32) if seed is None else seed
        print(f"round {rounds}, seed {number}", flush=True)
        try:
            play(PLUGIN, profiles.KERNEL["deep"], number)
        except Exception:
            traceback.print_exc()
            print(f"\nThe same again: make fuzz SEED={number}")
            failed = True
    report(rounds)
    return int(failed)


def report(rounds: int) -> None:
    """Print what was played, and how often each thing happened."""
    examples, steps = happened.pop("example", 0), happened.pop("step", 0)
    print(f"{rounds} rounds, {examples} examples, {steps} steps")
    for what, count in sorted(happened.items()):
        print(f"{count:7} {what}")


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None))
