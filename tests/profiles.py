"""How hard Hypothesis tries: HYPOTHESIS_PROFILE is `default`, as for `make test-all`, `brief`, as
for `make test`, `deep`, or `quick`, which looks for new examples alone.

An example of the kernel tests plays a whole node, so there are few of them.
"""

import os
from collections.abc import Mapping
from typing import Final

from hypothesis import HealthCheck, Phase, settings

CHOSEN: Final = os.environ.get("HYPOTHESIS_PROFILE", "default")

_BASE: Final = settings(
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
_UNSHRUNK: Final = [Phase.explicit, Phase.reuse, Phase.generate]

UNIT: Final = {
    "default": settings(_BASE, max_examples=20),
    "brief": settings(_BASE, max_examples=10),
    "deep": settings(_BASE, max_examples=2000),
    "quick": settings(_BASE, max_examples=10, phases=[Phase.generate]),
    # Whether a mutant is killed must not depend on chance.
    "mutants": settings(
        _BASE, max_examples=10, phases=[Phase.explicit, Phase.generate], derandomize=True
    ),
}
KERNEL: Final = {
    "default": settings(_BASE, max_examples=12, stateful_step_count=16, phases=_UNSHRUNK),
    "brief": settings(_BASE, max_examples=4, stateful_step_count=16, phases=_UNSHRUNK),
    # The seed determines the whole round, so an earlier failure is not played first.
    "deep": settings(
        _BASE, max_examples=30, stateful_step_count=30, database=None, print_blob=True
    ),
    "quick": settings(_BASE, max_examples=2, stateful_step_count=14, phases=[Phase.generate]),
}


def load(profiles: Mapping[str, settings]) -> None:
    """Let the tests of one level try as hard as chosen, unless they have their own settings."""
    for name, profile in profiles.items():
        settings.register_profile(name, profile)
    settings.load_profile(CHOSEN)
