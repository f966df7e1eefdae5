"""What an ADD knows of the node: the facts from which it is planned."""

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Details
from amdcni.core.host import (
    Interrupts,
    Load,
    Netns,
)
from amdcni.core.names import DeviceKey
from amdcni.core.policy import Policy, Traits
from amdcni.core.protection import Surroundings
from amdcni.core.rdma import Rdma
from amdcni.core.resolve import Candidates


@attrs.frozen
class Clock:
    """Now: CLOCK_BOOTTIME in whole seconds, the boot it belongs to, and for people ISO 8601."""

    now_s: int
    boot_id: str
    wall: str


@attrs.frozen
class Snapshot:
    """What an ADD has to know of the node, read under the device's lock.

    `details` are those of the selected netdev, and `load` is read for it.  `records` are of the
    same device; stale ones among them are healed already, so that all of them are live.
    `multipath` are the records, of any device, that hold a route with several hops or a nexthop
    group, and `in_transit` are those devices among them that may have been leaving while the
    details were read.  `below` is what the selected netdev rests on, `interrupts` are those of its
    device.  `kin` are the records of the functions that control the device or are controlled by it,
    and `kin_in_use` those that count: who has the others is gone.  `rdma` is what the host
    has for RDMA.
    """

    clock: Clock
    host: Netns
    pod: Netns
    candidates: Candidates
    details: Details = attrs.field(factory=Details)
    load: Load = attrs.field(factory=Load)
    multipath: tuple[Attachment, ...] = ()
    in_transit: frozenset[DeviceKey] = frozenset()
    records: tuple[Attachment, ...] = ()
    policy: Policy = attrs.field(factory=Policy)
    below: tuple[Traits, ...] = ()
    interrupts: Interrupts | None = None
    kin: tuple[Attachment, ...] = ()
    kin_in_use: frozenset[DeviceKey] = frozenset()
    rdma: Rdma = attrs.field(factory=Rdma)

    @property
    def surroundings(self) -> Surroundings:
        """What decides whether the node can do without the selected netdev."""
        return Surroundings(self.host.netdevs, self.details.ways_out, self.load)
