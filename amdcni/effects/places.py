"""Which of the folders and files that a configuration names root writes to."""

import attrs

from amdcni.core.errors import InvalidConfiguration
from amdcni.core.places import Places, default_place, places_of
from amdcni.core.policy import Policy, unusable
from amdcni.core.request import AddRequest, Request, StatusRequest
from amdcni.effects import trust


def settle(request: Request, policy: Policy) -> tuple[Request, Places]:
    """The request as it may be served, and where this call keeps records and log lines.

    For ADD and STATUS the configuration has to be right.  What was lent is returned whatever it
    says: the other verbs do without what may not be used.

    Raises: InvalidConfiguration, with every fault.
    """
    places = places_of(request.network, policy)
    faults = list(places.faults)
    exposed = trust.fault_of_folder(places.data_dir)
    if exposed is not None:
        faults.append(f"dataDir {places.data_dir.path!r} cannot be used safely: {exposed}")
        places = attrs.evolve(places, data_dir=default_place())
    if faults and policy.fault is not None:
        faults.append(unusable(policy.fault))
    if faults and isinstance(request, AddRequest | StatusRequest):
        raise InvalidConfiguration("; ".join(faults))
    network = attrs.evolve(request.network, raw=places.raw)
    return attrs.evolve(request, network=network), places
