"""A function with several netdevs: each is lent and returned by itself."""

import pytest

from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import address
from tests.unit.keeper import Keeper
from tests.unit.two_nics import A, add, delete, interfaces_of, pod_of, second_netdev


def test_among_several_netdevs_of_a_function_the_named_one_is_lent(machine: Machine) -> None:
    second_netdev(machine)
    chosen = machine.kernel.functions[A].links[1]
    add(machine, device="ens1np1")
    assert chosen.space is pod_of(machine)
    assert set(machine.disk.files) == {f"{A}@ens1np1"}


def dual(machine: Machine, shows_parent: bool) -> tuple[Keeper, Keeper]:
    """A function with two netdevs, each with its own address."""
    links = machine.kernel.plug(
        "0000:03:00.0", "ens3np0", "ens3np1", shows_parent=shows_parent
    ).links
    for link, text in zip(links, ("203.0.113.1/24", "203.0.113.2/24"), strict=True):
        machine.kernel.configure(link, (address(text),))
    return Keeper(machine, links[0]), Keeper(machine, links[1])


@pytest.mark.parametrize("shows_parent", [True, False])
def test_an_add_of_the_second_netdev_of_a_function_leaves_the_first_in_its_pod(
    machine: Machine, shows_parent: bool
) -> None:
    first, second = dual(machine, shows_parent)
    add(machine, "0000:03:00.0", pod=1, device="ens3np0")
    add(machine, "0000:03:00.0", pod=2, device="ens3np1")
    assert first.link.space is pod_of(machine, 1)
    assert second.link.space is pod_of(machine, 2)


@pytest.mark.parametrize("shows_parent", [True, False])
def test_a_renamed_netdevs_addresses_do_not_end_up_on_its_functions_second_one(
    machine: Machine, shows_parent: bool
) -> None:
    first, second = dual(machine, shows_parent)
    add(machine, "0000:03:00.0", device="ens3np0")
    machine.kernel.set_up(first.link, False)
    machine.kernel.rename(first.link, "fabric0")
    delete(machine, "0000:03:00.0")
    assert interfaces_of(second.link) == ["203.0.113.2/24"]
    assert first.is_whole()
    assert second.is_whole()
