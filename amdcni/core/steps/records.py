"""Steps that write and remove the record."""

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured, summary
from amdcni.core.host import SysfsDevice
from amdcni.core.names import DeviceKey


@attrs.frozen
class SaveRecord:
    """The record is on disk, durably."""

    record: Attachment

    def describe(self) -> str:
        """The step in words."""
        record = self.record
        return f"write the record of {record.key}: {record.phase}, {_held(record.captured)}"


@attrs.frozen
class ConfirmRecord:
    """The record is on disk as attached, with what the steps before have found out."""

    record: Attachment

    def describe(self) -> str:
        """The step in words."""
        return f"write the record of {self.record.key} again: attached, with the result"


@attrs.frozen
class ForgetRecord:
    """There is no record of the device, and no netdev of the host carries its mark.

    It is never performed after another step has failed.  A record that was `taken_over` takes the
    device's entry in the Go plugin's file with it.  If there are several state folders, only the
    record in `folder` is meant; None means all of them.
    """

    key: DeviceKey
    taken_over: bool = False
    folder: str | None = None

    def describe(self) -> str:
        """The step in words."""
        return f"remove the record of {self.key}"


@attrs.frozen
class LookAtKin:
    """No other pod has got what controls the device, or what it controls, since `seen` was read."""

    record: Attachment
    device: SysfsDevice
    seen: tuple[Attachment, ...] = ()

    def describe(self) -> str:
        """The step in words."""
        first, *others = self.device.kin
        more = f" and {len(others)} more" if others else ""
        return f"check that no other pod has got {first}{more} meanwhile"


RecordStep = LookAtKin | SaveRecord | ConfirmRecord | ForgetRecord


def _held(captured: Captured | None) -> str:
    if captured is None:
        return "a device without a netdev"
    return f"{captured.ifname} with {', '.join(summary(captured))}"
