"""The node's policy on real PCI functions, whose netdevs sysfs links to them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.cases import shown
from tests.vm.guest import Guest
from tests.vm.nics import E1000E, VIRTIO, Slot

POLICY = Path("/etc/amdcni/policy.json")
DENIED = 103


@pytest.fixture
def _policy() -> Iterator[None]:
    POLICY.parent.mkdir(parents=True, exist_ok=True)
    yield
    POLICY.unlink(missing_ok=True)


def conditions_on(slot: Slot) -> list[dict[str, str]]:
    """Return conditions that a NIC fits, and the other model does not."""
    folder = Path("/sys/bus/pci/devices", slot.bdf)
    ids = {name: (folder / name).read_text().strip() for name in ("vendor", "device")}
    return [{"address": slot.bdf}, {"driver": slot.driver}, ids]


@pytest.mark.usefixtures("_policy")
@pytest.mark.parametrize("slot", [E1000E, VIRTIO], ids=shown)
def test_a_nic_is_denied_by_what_it_is_however_it_is_named(guest: Guest, slot: Slot) -> None:
    guest.mover = "native"
    pod = guest.pod("pod1")
    guest.host.ip(f"link add link {slot.ifname} name top type vlan id 7")
    plugin = {"cniVersion": "1.1.0", "name": "fabric", "type": "amd-host-device"}
    for conditions in conditions_on(slot):
        POLICY.write_text(
            json.dumps({"lending": {"rules": [{"deny": conditions}], "otherwise": "allow"}})
        )
        guest.add(slot, pod).expect_error(DENIED, "policy.json")
        for key, value in (("device", slot.ifname), ("hwaddr", slot.mac), ("device", "top")):
            named = {**plugin, "mover": "native", key: value}
            if key == "hwaddr":
                guest.host.ip("link set top address 02:00:00:00:00:07")
            guest.serve("ADD", named, netns=pod.netns).expect_error(DENIED, "policy.json")
    guest.host.ip("link delete top")
    other = VIRTIO if slot is E1000E else E1000E
    guest.added(other, pod)
    assert guest.delete(other, pod).succeeded
    assert guest.damage() == []
