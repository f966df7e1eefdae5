"""The NAPI instances of a netdev, which serve its queues: the generic netlink family `netdev`."""

import sys
from typing import Final

from amdcni.effects.messages.common import number_of, u32
from amdcni.effects.messages.generic import COMMAND
from amdcni.effects.rtnetlink import Reply, Request, attribute, attributes_in

FAMILY: Final = "netdev"
_NAPI_GET: Final = 11  # NETDEV_CMD_NAPI_GET of include/uapi/linux/netdev.h
_NAPI_SET: Final = 14
_IFINDEX: Final = 1  # NETDEV_A_NAPI_*
_ID: Final = 2
_SETTINGS: Final = {
    "defer_hard_irqs": (5, 4),
    "gro_flush_timeout": (6, 8),
    "irq_suspend_timeout": (7, 8),
    "threaded": (8, 4),
}
"""Each with its attribute, and how many bytes of it the kernel accepts."""


def query(family: int, ifindex: int) -> Request:
    """The query for the NAPI instances of a netdev; there are some only while it is up."""
    asked = attribute(_IFINDEX, u32(ifindex))
    return Request(family, 0, COMMAND.pack(_NAPI_GET, 1, 0) + asked)


def id_of(reply: Reply) -> int:
    """The number of a NAPI instance; they are made in the order of the queues that they serve."""
    return number_of(dict(attributes_in(reply.body, COMMAND.size)).get(_ID)) or 0


def settings_in(reply: Reply) -> dict[str, str]:
    """The settings of a NAPI instance; none before Linux 6.13."""
    shown = dict(attributes_in(reply.body, COMMAND.size))
    return {
        name: str(number_of(shown[number]))
        for name, (number, _) in _SETTINGS.items()
        if number in shown
    }


def change(family: int, napi_id: int, name: str, value: str) -> Request:
    """The request to change a setting; raises ValueError unless the value is a number."""
    number, size = _SETTINGS[name]
    asked = attribute(_ID, u32(napi_id))
    asked += attribute(number, int(value).to_bytes(size, sys.byteorder))
    return Request(family, 0, COMMAND.pack(_NAPI_SET, 1, 0) + asked)
