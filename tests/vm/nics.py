"""The NICs that are plugged into the machine, for the code that builds it and the code inside."""

from attrs import frozen


@frozen
class Slot:
    """A NIC by its PCI address, its model in QEMU, its driver and its usual name on the host."""

    bdf: str
    model: str
    driver: str
    ifname: str

    @property
    def mac(self) -> str:
        return f"52:54:00:00:00:{self.number:02x}"

    @property
    def number(self) -> int:
        return int(self.bdf.rpartition(":")[2].partition(".")[0], 16)


def _slot(number: int, model: str, driver: str) -> Slot:
    return Slot(f"0000:00:{number:02x}.0", model, driver, f"enp0s{number}")


E1000E = _slot(0x10, "e1000e", "e1000e")
OTHER_E1000E = _slot(0x11, "e1000e", "e1000e")
VIRTIO = _slot(0x12, "virtio-net-pci", "virtio-pci")
VMXNET3 = _slot(0x13, "vmxnet3", "vmxnet3")
PEER = _slot(0x14, "virtio-net-pci", "virtio-pci")
"""The other end of the wire, which no test lends to a pod."""

LENDABLE = (E1000E, OTHER_E1000E, VIRTIO, VMXNET3)
SLOTS = (*LENDABLE, PEER)
