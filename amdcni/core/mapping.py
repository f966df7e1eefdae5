"""What AMD's Go plugin noted of the NICs that it lent.

It keeps one file for all of them, an object with an entry for each `deviceID` of a configuration:
the netdev's name on the host, its addresses with their prefix lengths, and whether it was up.  It
says neither who holds the NIC, nor since which boot, nor what else the host had
(ROCm/network-operator, cni/plugins/amd-host-device/utils.go).
"""

import attrs

from amdcni.core.host import IpInterface
from amdcni.core.names import IfName, PciAddress


@attrs.frozen
class GoMapping:
    """One entry of the Go plugin's file: a NIC, and how it was on the host.

    `written_s` is when the Go plugin last wrote the file, on CLOCK_BOOTTIME of this boot in whole
    seconds: negative if that was before the boot.  The entry is as old, or older.
    """

    device: PciAddress
    ifname: IfName
    up: bool
    addresses: tuple[IpInterface, ...]
    written_s: int

    @property
    def may_be_of_this_boot(self) -> bool:
        """False if the entry was certainly made before the node was booted."""
        return self.written_s >= 0


def sentence_on(mapping: GoMapping) -> str:
    """What an operator has to know about a NIC that is still to come back."""
    addresses = " and ".join(map(str, mapping.addresses)) or "no address"
    return (
        f"{mapping.device} was lent by AMD's Go plugin, as {mapping.ifname} with {addresses}; the "
        "DEL of its pod, or the next ADD of the NIC, returns it."
    )
