"""Which tests `make test` leaves to `make test-all`: what is marked `thorough`, by hand or here."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import pytest

EVERY: Final = 8
"""Of so many cases of a test one is played by `make test`."""


def leave_most_cases(items: Iterable[pytest.Item]) -> None:
    """Leave all cases of a test but the first, the ninth and so on to `make test-all`.

    Cases that are left to it by hand do not count.
    """
    counts: Counter[str] = Counter()
    for item in items:
        if item.get_closest_marker("thorough") is None:
            test = item.nodeid.partition("[")[0]
            if counts[test] % EVERY:
                item.add_marker("thorough")
            counts[test] += 1
