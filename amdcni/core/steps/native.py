"""Steps of the mover `native`: netlink does the work, and an IPAM plugin if there is one."""

import attrs

from amdcni.core.aspects.sysctls import ADDR_GEN_MODE
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Change, counted
from amdcni.core.host import Netdev
from amdcni.core.spec import PluginCall


@attrs.frozen
class RestoreLink:
    """The netdev, made anew on the host, has what the one before it took along into the pod."""

    netdev: Netdev
    changes: tuple[Change, ...]

    def describe(self) -> str:
        """The step in words."""
        differences = ", ".join(change.describe() for change in self.changes)
        return f"give {self.netdev.ifname} what it had: {differences}"


@attrs.frozen
class MoveIntoPod:
    """The netdev is in the pod under the attachment's ifname, up, with the mark of its record.

    `in_the_way` are those of its altnames that something in the pod already has.  `mtu` is what it
    gets there; None keeps its own.
    """

    record: Attachment
    netdev: Netdev
    in_the_way: tuple[str, ...] = ()
    mtu: int | None = None

    def describe(self) -> str:
        """The step in words."""
        record, sysctls = self.record, self.record.pod_sysctls
        usual = not sysctls or sysctls == {ADDR_GEN_MODE: "0"}
        with_sysctls = "" if usual else f" with {counted(len(sysctls), 'sysctl')} of the host"
        return (
            f"move {self.netdev.ifname} into {record.netns.path} as {record.id.ifname}"
            f"{with_sysctls} and set it up"
        )


@attrs.frozen
class IpamAdd:
    """The configuration's own IPAM plugin has given addresses; the outcome is their result."""

    record: Attachment
    call: PluginCall

    def describe(self) -> str:
        """The step in words."""
        return f"{self.call.describe()}, which gives addresses"


@attrs.frozen
class ConfigureInPod:
    """The netdev in the pod has the addresses and routes of the result so far, or the host's.

    One that is attached again has those of the result that its ADD has answered.
    """

    record: Attachment

    def describe(self) -> str:
        """The step in words."""
        return f"set the addresses and routes of {self.record.id.ifname} in the pod"


NativeStep = RestoreLink | MoveIntoPod | IpamAdd | ConfigureInPod
