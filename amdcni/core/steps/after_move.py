"""Steps for the routes of a netdev that has just left the host, whoever moved it."""

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured, counted


@attrs.frozen
class KeepOtherHops:
    """Multipath routes that led through the netdev still lead through the others.

    When the netdev of one hop goes, the kernel removes an IPv4 route altogether.
    """

    record: Attachment
    captured: Captured

    def describe(self) -> str:
        """The step in words."""
        return (
            f"keep multipath routes through {self.captured.ifname} alive through their other hops"
        )


@attrs.frozen
class CopyRoutes:
    """The netdev in the pod has the routes that it had on the host (key `copyRoutes`)."""

    record: Attachment
    captured: Captured

    def describe(self) -> str:
        """The step in words."""
        routes = counted(len(self.captured.routes), "route")
        return f"set {routes} of the host on {self.record.id.ifname}, too"


AfterMoveStep = KeepOtherHops | CopyRoutes
