"""Which of the folders and files that a configuration names root writes to."""

from typing import assert_never

import attrs

from amdcni.core.errors import InvalidConfiguration, NotAvailable, StateFailure
from amdcni.core.places import Places, default_place, places_of
from amdcni.core.policy import Policy, unusable
from amdcni.core.request import (
    DEFAULT_DATA_DIR,
    AddRequest,
    CheckRequest,
    DelRequest,
    GcRequest,
    Request,
    StatusRequest,
)
from amdcni.effects import trust


def settle(request: Request, policy: Policy) -> tuple[Request, Places]:
    """The request as it may be served, and where this call keeps records and log lines.

    For ADD and STATUS the configuration has to be right.  What was lent is returned whatever it
    says: the other verbs do without what may not be used.

    Raises: InvalidConfiguration, with every fault; StateFailure or NotAvailable if others than root
        can write in the default state folder, which is no fault of the configuration.
    """
    places = places_of(request.network, policy)
    faults = list(places.faults)
    exposed = trust.fault_of_folder(places.data_dir)
    if exposed is not None and places.data_dir == default_place() and not faults:
        _refuse_default(request, exposed)
    elif exposed is not None:
        faults.append(f"dataDir {places.data_dir.path!r} cannot be used safely: {exposed}")
        places = attrs.evolve(places, data_dir=default_place())
    if faults and policy.fault is not None:
        faults.append(unusable(policy.fault))
    if faults and isinstance(request, AddRequest | StatusRequest):
        raise InvalidConfiguration("; ".join(faults))
    network = attrs.evolve(request.network, raw=places.raw)
    return attrs.evolve(request, network=network), places


def _refuse_default(request: Request, exposed: str) -> None:
    """Raise, unless the call returns what was lent, which it does in any case."""
    words = f"the state folder {DEFAULT_DATA_DIR!r} cannot be used safely: {exposed}"
    match request:
        case AddRequest():
            raise StateFailure(words)
        case StatusRequest():
            raise NotAvailable(words)
        case CheckRequest() | DelRequest() | GcRequest():
            return
        case _:
            assert_never(request)
