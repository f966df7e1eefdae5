"""Messages of RDMA netlink about devices (include/uapi/rdma/rdma_netlink.h).

pyroute2 does not have them.
"""

from typing import Final

from amdcni.core.rdma import RdmaDevice, RdmaMode
from amdcni.effects.messages.common import named_in, number_of, octets_of_text, text_of, u32
from amdcni.effects.rtnetlink import Reply, Request, attribute

NETLINK_RDMA: Final = 20
_RDMA_NL_NLDEV: Final = 5
_GET, _SET, _PORT_GET, _SYS_GET = 1, 2, 5, 6
_EXCLUSIVE: Final = 0

_NUMBERS: Final = {
    "DEV_INDEX": 1,
    "DEV_NAME": 2,
    "NODE_GUID": 6,
    "NDEV_INDEX": 50,
    "SYS_NETNS_MODE": 66,
    "NET_NS_FD": 68,
}
_NAMES: Final = {number: name for name, number in _NUMBERS.items()}


def _request(operation: int, **attributes: bytes) -> Request:
    given = [attribute(_NUMBERS[name], value) for name, value in attributes.items()]
    return Request(_RDMA_NL_NLDEV << 10 | operation, 0, b"".join(given))


def mode_query() -> Request:
    """The query for the mode of the subsystem (Linux 5.2)."""
    return _request(_SYS_GET)


def mode_of(reply: Reply) -> RdmaMode:
    """The mode; early kernels that know it have only the shared one, and do not say so."""
    shared = number_of(named_in(reply.body, 0, _NAMES).get("SYS_NETNS_MODE"))
    return RdmaMode.EXCLUSIVE if shared == _EXCLUSIVE else RdmaMode.SHARED


def query() -> Request:
    """The query for all devices, to be dumped."""
    return _request(_GET)


def device_of(reply: Reply) -> RdmaDevice:
    """The device that the kernel describes.  Some have no GUID, which shows as 0."""
    found = named_in(reply.body, 0, _NAMES)
    guid = number_of(found.get("NODE_GUID"))
    return RdmaDevice(
        index=number_of(found["DEV_INDEX"]) or 0,
        name=text_of(found["DEV_NAME"]) or "",
        guid=f"{guid:016x}" if guid else None,
    )


def ports_query(device: RdmaDevice) -> Request:
    """The query for the ports of a device, to be dumped."""
    return _request(_PORT_GET, DEV_INDEX=u32(device.index))


def ifindex_of(reply: Reply) -> int | None:
    """The ifindex of a port's netdev; None if it has none in the namespace of the socket."""
    return number_of(named_in(reply.body, 0, _NAMES).get("NDEV_INDEX"))


def move(device: RdmaDevice, netns_fd: int) -> Request:
    """Moves a device into another network namespace."""
    return _request(_SET, DEV_INDEX=u32(device.index), NET_NS_FD=u32(netns_fd))


def rename(device: RdmaDevice, name: str) -> Request:
    """Renames a device."""
    return _request(_SET, DEV_INDEX=u32(device.index), DEV_NAME=octets_of_text(name))
