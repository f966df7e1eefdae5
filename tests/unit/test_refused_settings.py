"""A setting that its driver refuses keeps no NIC away, and is reported in plain words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import RestoreIncomplete
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link
from tests.unit.two_nics import POD1, A, add, booted, delete, heal, pod_of, process


def shrink_rings(nic: Link) -> None:
    """What a pod does, and the driver does not let us undo."""
    nic.ethtool |= {"rings/rx": 64, "features/on": "0x0", "features/off": "0xf"}
    nic.refused_settings.add("rings/rx")


def reported(machine: Machine) -> list[dict[str, Any]]:
    """What was not restored, according to the log of the last call."""
    return [facts for event, facts in process(machine).reported if event == "not-restored"]


RINGS = {"aspect": "ethtool", "what": "rx ring is 64, was 512"}


@pytest.mark.parametrize("by", ["DEL", "healing"])
def test_the_nic_is_home_without_it_and_the_record_is_gone(
    machine: Machine, nic: Link, by: str
) -> None:
    add(machine)
    shrink_rings(nic)
    if by == "DEL":
        delete(machine)
    else:
        machine.kernel.destroy_netns(pod_of(machine))
        assert heal(machine) == {A: ("returned", True)}
    assert nic.space is machine.kernel.host
    assert nic.ethtool["rings/rx"] == 64
    assert nic.ethtool["features/on"] == "0x4"
    assert machine.disk.files == {}
    (facts,) = reported(machine)
    assert facts.items() >= RINGS.items()
    assert "Operation not supported" in facts["reason"]


def test_a_lost_address_still_keeps_the_record_and_names_both(machine: Machine, nic: Link) -> None:
    add(machine)
    shrink_rings(nic)
    machine.kernel.host.refused.add("192.0.2.1/31")
    with pytest.raises(RestoreIncomplete):
        delete(machine)
    assert set(machine.disk.files) == {A}


def test_what_the_driver_takes_a_moment_later_is_not_reported(machine: Machine, nic: Link) -> None:
    add(machine)
    shrink_rings(nic)
    machine.kernel.interrupts.append(lambda what: nic.refused_settings.clear())
    delete(machine)
    assert nic.ethtool["rings/rx"] == 512
    assert reported(machine) == []


@given(rings=st.sampled_from([64, 256]), features=st.integers(0, 15), dies=st.booleans())
def test_whatever_a_pod_sets_the_host_has_what_it_had(
    rings: int, features: int, dies: bool
) -> None:
    machine = booted("native")
    (nic,) = machine.kernel.functions[A].links
    before = machine.kernel.configuration_of(nic)
    add(machine)
    nic.ethtool |= {"rings/rx": rings, "link/autoneg": 0, "link/advertised": "0x0"}
    nic.ethtool |= {"features/on": hex(features), "features/off": hex(15 - features)}
    if dies:
        machine.kernel.destroy_netns(machine.kernel.paths[POD1])
        heal(machine)
    else:
        delete(machine)
    assert machine.kernel.configuration_of(nic) == before
    assert reported(machine) == []
