"""Steps of the mover `delegate`: the `host-device` plugin does the work, and we check."""

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.host import Netdev
from amdcni.core.spec import PluginCall


@attrs.frozen
class DelegateAdd:
    """The delegate has moved the netdev into the pod and configured it; gives its result.

    The netdev carries the mark of its record.  `netdev` is None for a device that has none.
    """

    call: PluginCall
    record: Attachment
    netdev: Netdev | None

    def describe(self) -> str:
        """The step in words."""
        return f"{self.call.describe()}, which moves the NIC into the pod and configures it"


@attrs.frozen
class InspectPod:
    """The netdev is in the pod under the attachment's ifname, as we have checked ourselves."""

    record: Attachment

    def describe(self) -> str:
        """The step in words."""
        record = self.record
        return f"check that {record.id.ifname} is in {record.netns.path} and is this NIC"


DelegateStep = DelegateAdd | InspectPod
