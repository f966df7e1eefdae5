"""What /proc and sysfs show of PPPoE and of software RDMA devices."""

from collections.abc import Mapping
from pathlib import Path

from amdcni.effects.load import pppoe_netdevs, rdma_devices

SESSIONS = """\
Id       Address              Device
01000000 02:00:00:00:00:77     eth1
02000000 02:00:00:00:00:78   eth1.7
"""


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_each_pppoe_session_names_its_netdev(tmp_path: Path) -> None:
    write(tmp_path, {"pppoe": SESSIONS, "none": "Id       Address              Device\n"})
    assert list(pppoe_netdevs(tmp_path / "pppoe")) == ["eth1", "eth1.7"]
    assert list(pppoe_netdevs(tmp_path / "none")) == []


def test_without_pppoe_and_rdma_in_the_kernel_nothing_is_found(tmp_path: Path) -> None:
    assert list(pppoe_netdevs(tmp_path / "pppoe")) == []
    assert list(rdma_devices(tmp_path)) == []


def test_software_rdma_devices_name_their_netdev_and_hardware_ones_are_left_out(
    tmp_path: Path,
) -> None:
    ndevs = "ports/1/gid_attrs/ndevs/0"
    write(
        tmp_path / "class/infiniband",
        {
            "rxe0/parent": "eth1\n",
            f"siw0/{ndevs}": "eth2\n",
            "siw1/ports/1/state": "4: ACTIVE\n",
            "ionic_0/device/vendor": "0x1dd8\n",
            f"ionic_0/{ndevs}": "eth1\n",
        },
    )
    assert dict(rdma_devices(tmp_path)) == {"rxe0": "eth1", "siw0": "eth2"}
