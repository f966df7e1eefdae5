"""NICs that lose their driver, or whose driver makes no netdev."""

import pytest

from tests.netns.runtime import TRY_AGAIN, expect_silence, ifnames
from tests.vm.guest import Guest
from tests.vm.nics import E1000E


def test_a_nic_that_lost_its_driver_is_healed_once_it_has_one_again(
    guest: Guest,
) -> None:
    pod = guest.pod("pod1")
    guest.added(E1000E, pod)
    record = guest.records()[f"{E1000E.bdf}.json"]
    guest.bind(E1000E, None)
    assert ifnames(pod) == set()
    guest.delete(E1000E, pod).expect_error(TRY_AGAIN, E1000E.bdf)
    kept = guest.records()[f"{E1000E.bdf}.json"]
    assert kept["captured"] == record["captured"]
    guest.bind(E1000E, E1000E.driver)
    # No DEL has to be repeated; calls about other NICs leave it alone for some seconds.
    (finding,) = guest.heal()
    assert finding["healed"]
    assert guest.damage() == []


def test_a_nic_without_a_netdev_is_refused_with_the_reason(guest: Guest) -> None:
    pod = guest.pod("pod1")
    guest.bind(E1000E, None)
    guest.add(E1000E, pod).expect_error(101, E1000E.bdf, "has no driver")
    guest.bind(E1000E, "pci-stub")
    guest.add(E1000E, pod).expect_error(101, E1000E.bdf, "pci-stub")
    assert guest.records() == {}


@pytest.mark.parametrize("driver", ["uio_pci_generic", "vfio-pci"])
def test_a_nic_with_a_userspace_driver_is_lent_and_keeps_its_driver(
    guest: Guest, driver: str
) -> None:
    guest.bind(E1000E, driver)
    before = guest.dump()
    pod = guest.pod("pod1")
    result = guest.added(E1000E, pod)
    assert result.get("ips", []) == []
    assert ifnames(pod) == set()
    assert guest.driver_of(E1000E) == driver
    guest.add(E1000E, guest.pod("pod2")).expect_error(TRY_AGAIN, "pod1")
    expect_silence(guest.delete(E1000E, pod))
    assert guest.driver_of(E1000E) == driver
    assert guest.damage(before) == []
