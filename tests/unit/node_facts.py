"""What `amdcni doctor` sees of a node."""

from amdcni.core.host import Netdev, SysfsDevice
from amdcni.core.kubernetes.installation import ConfFile
from amdcni.core.kubernetes.review import LENDER
from amdcni.core.names import IfName, PciAddress
from amdcni.core.nics import BusNic, Nic, Port, nics_of
from amdcni.core.nics import Records as KnownRecords
from amdcni.core.policy import Policy
from amdcni.core.protection import Surroundings

OWN = "/opt/amdcni/bin/amd-host-device"
PATH = "/var/lib/cni/amd-host-device"
DIRS = ("/opt/cni/bin", "/usr/lib/cni")
MULTUS = ConfFile("00-multus.conf", {"type": "multus"})
BRIDGE = ConfFile("10-bridge.conflist", {"plugins": [{"type": "bridge"}, {"type": "portmap"}]})
OURS = ConfFile("20-amd.conf", {"type": LENDER})
BROKEN = ConfFile("05-broken.conf", fault="it is not JSON")
ROOTS = ConfFile("00-multus.conf", fault="Permission denied", denied=True)
LOST = Netdev(7, IfName("net1"))


def nic_of(netdev: Netdev, records: KnownRecords | None) -> tuple[Nic, ...]:
    device = SysfsDevice(PciAddress(0, 0xC1, 0, 0), "ionic", (netdev.ifname,))
    bus = BusNic(device, ports=(Port(netdev.ifname),))
    return nics_of([bus], Surroundings((netdev,)), records, Policy())
