"""Steps for the RDMA devices of a netdev, which follow it into the pod and back.

They go before the netdev either way: on the way into the pod, one that cannot go is found before
anything else has changed; on the way back, whoever sees the netdev appear on the host, such as the
inventory of a device plugin, finds its RDMA devices there.
"""

from collections.abc import Iterable

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.rdma import RdmaDevice


@attrs.frozen
class MoveRdma:
    """The RDMA devices of the record are in the pod's network namespace."""

    record: Attachment

    def describe(self) -> str:
        """The step in words."""
        return f"move {_named(self.record.rdma)} into {self.record.netns.path}"


@attrs.frozen
class ReturnRdma:
    """None of the record's RDMA devices is in the pod; what left it has its name on the host."""

    record: Attachment

    def describe(self) -> str:
        """The step in words."""
        return f"bring {_named(self.record.rdma)} back to the host"


@attrs.frozen
class VerifyRdma:
    """The RDMA devices of the record that still exist are on the host, under their names.

    The kernel brings home those of a pod that has died, before their netdevs.
    """

    record: Attachment

    def describe(self) -> str:
        """The step in words."""
        verb = "are" if len(self.record.rdma) > 1 else "is"
        return f"check that {_named(self.record.rdma)} {verb} on the host"


RdmaStep = MoveRdma | ReturnRdma | VerifyRdma


def _named(devices: Iterable[RdmaDevice]) -> str:
    names = [device.name for device in devices]
    return f"the RDMA device{'s' if len(names) > 1 else ''} {', '.join(names)}"
