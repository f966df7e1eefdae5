"""Fixtures of several modules.

`kernel`, `nic`, `keeper` and `other` are those of `machine`, the node of `two_nics` or the one that
a module defines in its place.
"""

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdcni.effects.store import Store
from tests import profiles
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine, furnish
from tests.unit.fake_netdevs import Link, address
from tests.unit.keeper import Keeper
from tests.unit.state_folder import Reports
from tests.unit.two_nics import POD1, POD2, A, B

profiles.load(profiles.UNIT)


@pytest.fixture(params=["delegate", "native"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A node with two NICs and two pods; nothing that a keeper watches may be lost on it."""
    machine = Machine(mover=request.param)
    kernel = machine.kernel
    first, second = kernel.plug(A, "ens1").links[0], kernel.plug(B, "ens2").links[0]
    addresses = (
        address("192.0.2.1/31", label="ens1:fabric", metric=50),
        address("192.0.2.9/24", broadcast=ipaddress.IPv4Address("192.0.2.255")),
        address("fd00::1/64"),
        address("fd00::2/127"),
    )
    kernel.configure(first, addresses, alias="to the fabric")
    kernel.configure(second, (address("198.51.100.1/31"),))
    furnish(machine, first)
    for path in (POD1, POD2):
        kernel.make_netns(path)
    yield machine
    assert kernel.violations == []


@pytest.fixture
def kernel(machine: Machine) -> Kernel:
    return machine.kernel


@pytest.fixture
def nic(machine: Machine) -> Link:
    """The first NIC."""
    return machine.kernel.functions[A].links[0]


@pytest.fixture
def keeper(machine: Machine, nic: Link) -> Keeper:
    return Keeper(machine, nic)


@pytest.fixture
def other(machine: Machine) -> Keeper:
    """The keeper of the second NIC."""
    return Keeper(machine, machine.kernel.functions[B].links[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder that is yet to be made."""
    return tmp_path / "state"


@pytest.fixture
def reports() -> Reports:
    """What `store` has reported."""
    return Reports()


@pytest.fixture
def store(folder: Path, reports: Reports) -> Store:
    return Store(str(folder), reports)


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """What stands for /sys."""
    return tmp_path / "sys"
