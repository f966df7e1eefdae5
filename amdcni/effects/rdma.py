"""The kernel's RDMA devices, in the network namespace that this thread is in."""

import errno

import attrs

from amdcni.core.errors import KernelRefused, RdmaImmovable
from amdcni.core.rdma import STAY, Rdma, RdmaDevice, RdmaMode, Seen
from amdcni.effects.messages import rdma as messages
from amdcni.effects.rtnetlink import RequestRefused, Rtnetlink
from amdcni.effects.sysfs import rdma_parent_of


class RdmaNetlink:
    """A socket of RDMA netlink, as a context manager; it is used by a thread in its namespace.

    The kernel loads the RDMA subsystem for such a socket, so the caller has seen that it is there.
    """

    def __init__(self) -> None:
        try:
            self._kernel = Rtnetlink(messages.NETLINK_RDMA)
        except OSError as error:
            raise KernelRefused(
                f"the kernel opens no netlink for its RDMA devices: {error.strerror}"
            ) from None

    def __enter__(self) -> "RdmaNetlink":
        return self

    def __exit__(self, *_: object) -> None:
        self._kernel.close()

    def read(self) -> Rdma:
        """The mode, and the devices with their ports and what sysfs shows of them.

        A kernel that does not know the modes has only the shared one.
        """
        try:
            mode = messages.mode_of(self._kernel.get(messages.mode_query()))
        except RequestRefused:
            mode = RdmaMode.SHARED
        return Rdma(mode, tuple(map(self._seen, self.devices())))

    def devices(self) -> tuple[RdmaDevice, ...]:
        """All devices of the namespace."""
        return tuple(map(messages.device_of, self._kernel.dump(messages.query())))

    def _seen(self, device: RdmaDevice) -> Seen:
        """The device, without ports if it has just gone."""
        try:
            replies = self._kernel.dump(messages.ports_query(device))
        except RequestRefused:
            replies = []
        found = map(messages.ifindex_of, replies)
        ifindexes = frozenset(ifindex for ifindex in found if ifindex is not None)
        return Seen(attrs.evolve(device, parent=rdma_parent_of(device.name)), ifindexes)

    def move(self, device: RdmaDevice, netns_fd: int) -> None:
        """Move a device into another network namespace.

        All that programs have opened of it becomes useless, so the driver has to be able to take it
        away from them.

        Raises: RdmaImmovable if the driver cannot do that, or the mode is shared.
        """
        try:
            self._kernel.ask(messages.move(device, netns_fd))
        except RequestRefused as failure:
            if failure.code == errno.EOPNOTSUPP:
                raise RdmaImmovable(
                    f"the RDMA device {device.name} cannot change its network namespace, "
                    f"says its driver; {STAY}"
                ) from None
            raise KernelRefused(
                f"the kernel refused to move the RDMA device {device.name}: {failure.said}"
            ) from None

    def rename(self, device: RdmaDevice, name: str) -> None:
        """Rename a device; refused if another one has the name, in whatever namespace."""
        what = f"rename the RDMA device {device.name} to {name}"
        self._kernel.do(what, messages.rename(device, name))
