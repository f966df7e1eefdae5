"""RDMA netlink: messages, and what the files of sysfs add."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from amdcni.core.rdma import RdmaDevice, RdmaFile, RdmaMode
from amdcni.effects.messages import rdma as messages
from amdcni.effects.rtnetlink import Reply, Request, attributes_in
from amdcni.effects.sysfs import rdma_files, rdma_parent_of
from amdcni.testing import strategies as some

INDEX, NAME, GUID, NDEV_INDEX, NETNS_MODE, NETNS_FD = 1, 2, 6, 50, 66, 68
"""Numbers of include/uapi/rdma/rdma_netlink.h."""


def answer(**attributes: bytes) -> Reply:
    numbers = {"index": INDEX, "name": NAME, "guid": GUID, "ndev": NDEV_INDEX, "mode": NETNS_MODE}
    body = b""
    for name, value in attributes.items():
        padded = value + b"\0" * (-len(value) % 4)
        body += struct.pack("=HH", 4 + len(value), numbers[name]) + padded
    return Reply(0, 0, body)


@given(some.rdma_devices)
def test_a_device_is_read_as_the_kernel_describes_it(device: RdmaDevice) -> None:
    reply = answer(
        index=struct.pack("=I", device.index),
        name=device.name.encode() + b"\0",
        guid=struct.pack("=Q", int(device.guid or "0", 16)),
    )
    assert messages.device_of(reply) == device


@given(some.rdma_devices)
def test_a_request_names_the_device_by_its_number(device: RdmaDevice) -> None:
    number = struct.pack("=I", device.index)
    asked: dict[Callable[[], Request], tuple[int, dict[int, bytes]]] = {
        lambda: messages.ports_query(device): (5, {INDEX: number}),
        lambda: messages.move(device, 7): (2, {INDEX: number, NETNS_FD: struct.pack("=I", 7)}),
        lambda: messages.rename(device, "new0"): (2, {INDEX: number, NAME: b"new0\0"}),
        messages.query: (1, {}),
        messages.mode_query: (6, {}),
    }
    for request_of, (operation, attributes) in asked.items():
        request = request_of()
        assert request.kind == 5 << 10 | operation
        assert dict(attributes_in(request.body, 0)) == attributes


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(b"\0", RdmaMode.EXCLUSIVE), (b"\1", RdmaMode.SHARED), (None, RdmaMode.SHARED)],
)
def test_the_mode_is_shared_unless_the_kernel_says_that_it_is_not(
    mode: bytes | None, expected: RdmaMode
) -> None:
    assert messages.mode_of(answer() if mode is None else answer(mode=mode)) is expected


def test_a_port_may_have_a_netdev() -> None:
    assert messages.ifindex_of(answer(ndev=struct.pack("=I", 7))) == 7
    assert messages.ifindex_of(answer()) is None


def test_sysfs_shows_the_device_on_the_bus_and_the_files(tmp_path: Path) -> None:
    function = tmp_path / "devices/pci0000:c0/0000:c1:00.0"
    function.mkdir(parents=True)
    for name in ("ionic_0", "virtual0"):
        (tmp_path / "class/infiniband" / name).mkdir(parents=True)
    (tmp_path / "class/infiniband/ionic_0/device").symlink_to(function)
    for file, name in (("uverbs0", "virtual0"), ("uverbs1", "ionic_0")):
        (tmp_path / "class/infiniband_verbs" / file).mkdir(parents=True)
        (tmp_path / "class/infiniband_verbs" / file / "ibdev").write_text(f"{name}\n")
    assert rdma_parent_of("ionic_0", tmp_path) == "0000:c1:00.0"
    assert rdma_parent_of("virtual0", tmp_path) is None
    (tmp_path / "class/infiniband_verbs/uverbs1/device").symlink_to(function)
    assert list(rdma_files(tmp_path)) == [
        RdmaFile("uverbs0", "virtual0"),
        RdmaFile("uverbs1", "ionic_0", "0000:c1:00.0"),
    ]
    assert list(rdma_files(tmp_path / "class")) == []
