"""The record of one held device: who holds it, and everything needed to return it."""

from enum import StrEnum
from typing import Final

import attrs

from amdcni.core.capture import Captured
from amdcni.core.host import Hardware, Interrupts, Netns, NetnsId, Values
from amdcni.core.names import (
    DeviceKey,
    IfName,
    MacAddress,
    NetworkName,
    PluginName,
    mark_of,
)
from amdcni.core.rdma import RdmaDevice
from amdcni.core.request import Mover, pod_named_in, pod_uid_in
from amdcni.core.spec import AttachmentId, Json, Result

FORMAT: Final = 1
"""The version of the record's own format; a file of a newer one is refused and left untouched."""


class Phase(StrEnum):
    """How far the work that a record describes has come; all but ATTACHED are unfinished."""

    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"


@attrs.frozen
class NetnsRef:
    """The pod's netns at the time of ADD: the path that the runtime gave, and what was there."""

    path: str
    id: NetnsId

    def is_alive_in(self, netns: Netns | None) -> bool:
        """Whether `netns`, which was found now, is the same one."""
        return netns is not None and netns.id.is_same(self.id)


@attrs.frozen
class Attachment:
    """A device held by an attachment (CNI SPEC 1.1: a container ID with an ifname).

    `captured` is None for a device of a userspace driver, which has no netdev.  `read_at_s` is the
    time of the capture on CLOCK_BOOTTIME of the boot `boot_id`, in whole seconds, and `since` the
    same moment in ISO 8601, for people.  `config` is the configuration for other plugins.  `args`
    is CNI_ARGS, which IPAM plugins want again on DEL.  `ipam` is the configuration's own IPAM
    plugin; None if the pod got the captured addresses.  `pod_mac` is the hardware address that the
    netdev has in the pod if it was given another one there, and `pod_sysctls` are those that it
    has to have there, named as in `captured`.  `pod_ifindex` and `result` are known
    once the device is attached, and `result` also while it is attached again.  `hardware`
    distinguishes the card from another one in its place; None if that was not recorded.  `rdma` are
    the RDMA devices that were the netdev's on the host, if the kernel can move them.
    `taken_over` is True for a record made from the Go plugin's mapping, which is removed together
    with the record.

    `read_from` is the JSON object that the record was read from; None for one that was made here.
    It preserves keys of a newer version when the record is written again.  `folder` is the state
    folder that it was read from; None means the folder of the configuration.  Neither is part of
    the record.
    """

    network: NetworkName
    id: AttachmentId
    netns: NetnsRef
    key: DeviceKey
    phase: Phase
    boot_id: str
    read_at_s: int
    since: str
    config: Json
    args: str = ""
    captured: Captured | None = None
    ipam: PluginName | None = None
    mover: Mover = Mover.DELEGATE
    pod_mac: MacAddress | None = None
    pod_sysctls: Values = attrs.field(factory=dict)
    pod_ifindex: int | None = None
    hardware: Hardware | None = None
    interrupts: Interrupts | None = None
    rdma: tuple[RdmaDevice, ...] = ()
    result: Result | None = None
    taken_over: bool = False
    format: int = FORMAT
    read_from: Json | None = attrs.field(default=None, eq=False, repr=False)
    folder: str | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def host_ifname(self) -> IfName | None:
        """The name that the netdev had on the host; None if there was no netdev."""
        return None if self.captured is None else self.captured.ifname

    @property
    def host_addresses(self) -> tuple[str, ...]:
        """The addresses that come back to the host, with prefix lengths."""
        if self.captured is None:
            return ()
        return tuple(str(address.interface) for address in self.captured.addresses)

    @property
    def pod(self) -> str | None:
        """The pod's namespace and name; None if the runtime did not say them."""
        return pod_named_in(self.args)

    @property
    def lent_to(self) -> str:
        """Who has it, for people: the pod, or the container if the runtime did not say the pod."""
        return f"container {self.id.short}" if self.pod is None else f"pod {self.pod}"

    @property
    def facts(self) -> dict[str, str]:
        """What a log line says of it: the device, who holds it, and the pod if it is known."""
        said = {"pod": self.pod, "pod_uid": pod_uid_in(self.args)}
        known = {name: value for name, value in said.items() if value is not None}
        return {"device": str(self.key), "holder": str(self.id), **known}

    @property
    def mark(self) -> str:
        """The altname that only this netdev carries, from before it is moved until it is restored.

        It moves along with the netdev, whoever moves it.
        """
        return mark_of(self.key)

    def elapsed_s(self, now_s: int) -> int:
        """Seconds since the capture, `now_s` being CLOCK_BOOTTIME of the same boot."""
        return max(0, now_s - self.read_at_s)

    @property
    def is_reattaching(self) -> bool:
        """Whether the netdev, which its living pod has lost, is on its way into the pod again.

        An earlier version takes that for an interrupted ADD, which it undoes.
        """
        return self.phase is Phase.ATTACHING and self.result is not None

    def attached(self, result: Result, pod_ifindex: int | None) -> "Attachment":
        """This record once its ADD has succeeded."""
        return attrs.evolve(self, phase=Phase.ATTACHED, result=result, pod_ifindex=pod_ifindex)

    def reattaching(self, captured: Captured | None) -> "Attachment":
        """This record once its netdev, which its living pod has lost, is to go there again.

        What comes back to the host stays what was `captured` at first; only the number is new.
        """
        return attrs.evolve(self, phase=Phase.ATTACHING, captured=captured, pod_ifindex=None)

    def detaching(self) -> "Attachment":
        """This record once its release has begun."""
        return attrs.evolve(self, phase=Phase.DETACHING)
