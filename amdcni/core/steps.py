"""The steps that plans are made of: each says what shall be true, and may be performed again.

A step that finds its work done already does nothing; so an undo may follow a step that failed half
way, and a retry an undo that was killed.
"""

from collections.abc import Iterable

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.host import Netdev
from amdcni.core.names import DeviceKey, PluginName
from amdcni.core.spec import AttachmentId, Json, Result, Verb


@attrs.frozen
class PluginCall:
    """One execution of another CNI plugin: its executable, and what goes in by stdin and CNI_*.

    Everything else of the environment is the caller's own.
    """

    plugin: PluginName
    verb: Verb
    config: Json
    attachment: AttachmentId | None
    netns: str
    args: str

    def variables(self, dirs: Iterable[str]) -> dict[str, str]:
        """The variables of the call (CNI SPEC 1.1 §2), with `dirs` as CNI_PATH.

        What the call is not about is there and empty, as runtimes have it.
        """
        return {
            "CNI_COMMAND": self.verb.value,
            "CNI_CONTAINERID": self.attachment.container_id if self.attachment else "",
            "CNI_IFNAME": self.attachment.ifname if self.attachment else "",
            "CNI_NETNS": self.netns,
            "CNI_ARGS": self.args,
            "CNI_PATH": ":".join(dirs),
        }


@attrs.frozen
class SaveRecord:
    """The record is on disk, durably."""

    record: Attachment


@attrs.frozen
class ConfirmRecord:
    """The record is on disk as attached, with what the steps before have found out."""

    record: Attachment


@attrs.frozen
class ForgetRecord:
    """There is no record of the device.  Never performed while a failure is on the table.

    Nor does any netdev of the host carry its mark.

    A record that was `taken_over` takes the device's entry in the Go plugin's file with it.  Only
    the one in `folder` is meant if there are several state folders; None is all of them.
    """

    key: DeviceKey
    taken_over: bool = False
    folder: str | None = None


@attrs.frozen
class DelegateAdd:
    """The delegate has moved the netdev into the pod and configured it; gives its result.

    The netdev carries the mark of its record.  `netdev` is None for a device that has none.
    """

    call: PluginCall
    record: Attachment
    netdev: Netdev | None


@attrs.frozen
class InspectPod:
    """The netdev is in the pod under the attachment's ifname, as seen by our own eyes."""

    record: Attachment


@attrs.frozen
class MoveIntoPod:
    """The netdev is in the pod under the attachment's ifname, and up; `native` does it by itself.

    It carries the mark of its record.
    `in_the_way` are its alternative names that something in the pod has.  `mtu` is the one that it
    gets there; None keeps its own.
    """

    record: Attachment
    netdev: Netdev
    in_the_way: tuple[str, ...] = ()
    mtu: int | None = None


@attrs.frozen
class IpamAdd:
    """The configuration's own IPAM plugin has given addresses; gives the result that they make."""

    record: Attachment
    call: PluginCall


@attrs.frozen
class ConfigureInPod:
    """The netdev in the pod has the addresses and routes of the result so far, else the host's."""

    record: Attachment


@attrs.frozen
class CopyRoutes:
    """The netdev in the pod has the routes that it had on the host (key `copyRoutes`)."""

    record: Attachment
    captured: Captured


@attrs.frozen
class KeepOtherHops:
    """Multipath routes that led through the netdev still lead through the others.

    With the netdev of one hop, the kernel takes an IPv4 route away altogether.
    """

    record: Attachment
    captured: Captured


@attrs.frozen
class ReleasePlugins:
    """The delegate with its IPAM plugin, or that alone, has been told that the attachment ends.

    Where that is not `required`, a refusal is reported and keeps nothing waiting.  `limit_s` is how
    long a plugin may work; None is as long as any.
    """

    record: Attachment
    required: bool = True
    limit_s: float | None = None


@attrs.frozen
class ReleaseIpam:
    """The configuration's IPAM plugin, if it has one, has been asked to take its addresses back.

    That is all that can be done for an attachment of an earlier boot; a refusal is reported and
    keeps nothing waiting.  But a plugin that may work for no longer than `limit_s` has had no fair
    chance, and so its refusal is a failure.
    """

    record: Attachment
    limit_s: float | None = None


@attrs.frozen
class BringHome:
    """The netdev is on the host, under its own name or, if a stranger has that, a free one."""

    record: Attachment
    captured: Captured


@attrs.frozen
class RestoreConfiguration:
    """The netdev on the host has everything back that was captured and is still to be had."""

    record: Attachment
    captured: Captured


@attrs.frozen
class VerifyHome:
    """What the kernel shows of the netdev on the host agrees with the record."""

    record: Attachment
    captured: Captured


Step = (
    SaveRecord
    | ConfirmRecord
    | ForgetRecord
    | DelegateAdd
    | InspectPod
    | CopyRoutes
    | KeepOtherHops
    | MoveIntoPod
    | IpamAdd
    | ConfigureInPod
    | ReleasePlugins
    | ReleaseIpam
    | BringHome
    | RestoreConfiguration
    | VerifyHome
)


@attrs.frozen
class Planned:
    """A step, and the steps that take it back, in their order; noted before the step acts."""

    step: Step
    undo: tuple[Step, ...] = ()


@attrs.frozen
class Plan:
    """Steps that all succeed or are all taken back."""

    steps: tuple[Planned, ...]


@attrs.frozen
class Release:
    """Steps that are all tried, whatever fails among them, and then the record is forgotten.

    `mark` tells later calls that this work has begun; it is worth trying, no more: the record that
    is there already suffices to start again.  `forget` happens only if all of `work` succeeded; it
    is None where the record has to stay all the same.
    """

    mark: SaveRecord | None
    work: tuple[Step, ...]
    forget: ForgetRecord | None


@attrs.frozen
class Home:
    """A netdev that is back on the host, as it was seen there, and the other netdevs."""

    netdev: Netdev
    others: tuple[Netdev, ...] = ()


@attrs.frozen
class Outcome:
    """What the steps of a plan have found out so far."""

    result: Result | None = None
    pod_ifindex: int | None = None
    pod_mtu: int | None = None
    home: Home | None = None
