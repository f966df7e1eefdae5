"""Which NIC a configuration means while names move between NICs, and an ADD is repeated."""

import ipaddress
from collections.abc import Callable
from typing import Any

import pytest

from amdcni.core.errors import AmdcniError, DeviceBusy, DeviceHeld, DeviceNotFound
from amdcni.core.host import Address
from amdcni.core.spec import Result, Verb
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper

A, B = "0000:01:00.0", "0000:02:00.0"
LONG = "enp1s0f0np0-of-the-fabric-in-rack-7"
ABOVE = "/sys/devices/pci0000:00"
PATH = "/sys/devices/pci0000:00/0000:01:00.0"

KEYS: list[dict[str, object]] = [
    {"device": "ens1"},
    {"device": LONG},
    {"hwaddr": "the NIC's"},
    {"kernelpath": PATH},
    {"kernelpath": ABOVE},
    {"deviceID": A},
    {"deviceID": A, "device": LONG},
]
"""The ways to name the NIC A."""

by_any_key = pytest.mark.parametrize("keys", KEYS, ids=lambda keys: "+".join(keys))


@pytest.fixture(params=["delegate", "native"])
def machine(request: pytest.FixtureRequest) -> Machine:
    machine = Machine(mover=request.param)
    for device, name, text in ((A, "ens1", "192.0.2.1/31"), (B, "ens2", "198.51.100.1/31")):
        link = machine.kernel.plug(device, name).links[0]
        machine.kernel.configure(link, (Address(ipaddress.ip_interface(text)),))
    nic_of(machine).altnames.add(LONG)
    machine.kernelpaths |= {PATH: A, ABOVE: A}
    for number in (1, 2):
        machine.kernel.make_netns(f"/run/netns/pod{number}")
    return machine


@pytest.fixture
def keepers(machine: Machine) -> tuple[Keeper, Keeper]:
    return Keeper(machine, nic_of(machine)), Keeper(machine, nic_of(machine, B))


def nic_of(machine: Machine, device: str = A) -> Link:
    return machine.kernel.functions[device].links[0]


def add(machine: Machine, keys: dict[str, Any], *, pod: int = 1) -> Result:
    said = {**keys, "hwaddr": nic_of(machine).mac} if "hwaddr" in keys else keys
    container, netns = f"pod{pod}", f"/run/netns/pod{pod}"
    result = ask(machine, Verb.ADD, config_for(**said), container=container, netns=netns)
    assert result is not None
    return result


def pod_dies(machine: Machine) -> None:
    machine.kernel.destroy_netns(machine.kernel.paths["/run/netns/pod1"])


def name_it(machine: Machine, name: str, device: str, keeper: Keeper | None = None) -> None:
    """Somebody gives a NIC another name, which it has to keep from now on."""
    kernel, link = machine.kernel, nic_of(machine, device)
    watchers, kernel.watchers = kernel.watchers, []
    kernel.set_up(link, False)
    kernel.rename(link, name)
    if keeper is not None:
        keeper.remember()
    kernel.watchers = watchers


@by_any_key
def test_a_repeated_add_gets_the_same_answer_whichever_key_names_the_nic(
    machine: Machine, keepers: tuple[Keeper, Keeper], keys: dict[str, object]
) -> None:
    first, after_first = add(machine, keys), machine.picture()
    assert add(machine, keys) == first
    assert machine.picture() == after_first
    assert machine.kernel.violations == []


@by_any_key
def test_a_nic_in_a_pod_is_held_whichever_key_names_it(
    machine: Machine, keepers: tuple[Keeper, Keeper], keys: dict[str, object]
) -> None:
    add(machine, keys)
    before = machine.picture()
    with pytest.raises(DeviceHeld):
        add(machine, keys, pod=2)
    assert machine.picture() == before


@by_any_key
def test_a_nic_whose_pod_has_died_is_returned_and_lent_whichever_key_names_it(
    machine: Machine, keepers: tuple[Keeper, Keeper], keys: dict[str, object]
) -> None:
    add(machine, keys)
    pod_dies(machine)
    assert [str(ip.address) for ip in add(machine, keys, pod=2).ips] == ["192.0.2.1/31"]
    assert machine.kernel.violations == []


@by_any_key
def test_the_repeated_add_of_an_unplugged_nic_is_refused_and_changes_nothing(
    machine: Machine, keys: dict[str, object]
) -> None:
    mac = nic_of(machine).mac
    said = {**keys, "hwaddr": mac} if "hwaddr" in keys else keys
    ask(machine, Verb.ADD, config_for(**said))
    machine.kernel.unplug(A)
    before = machine.picture()
    with pytest.raises((DeviceHeld, DeviceNotFound)):
        ask(machine, Verb.ADD, config_for(**said))
    assert machine.picture() == before
    assert machine.last is not None
    assert machine.last.reported == []


def test_a_netdev_on_the_host_wins_over_one_that_had_the_name_before(
    machine: Machine, keepers: tuple[Keeper, Keeper]
) -> None:
    """The record of each NIC has its own key, and neither NIC gets what belongs to the other."""
    add(machine, {"device": "ens1"})
    pod_dies(machine)
    name_it(machine, "ens1", B, keepers[1])
    assert [str(ip.address) for ip in add(machine, {"device": "ens1"}, pod=2).ips] == [
        "198.51.100.1/31"
    ]
    records = machine.disk.records()
    assert {key: record["captured"]["parent"] for key, record in records.items()} == {A: A, B: B}
    ask(machine, Verb.DEL, config_for(), container="pod2", netns="/run/netns/pod2")
    ask(machine, Verb.DEL, config_for(), container="pod1", netns=None)
    assert all(keeper.is_whole() for keeper in keepers)
    assert machine.kernel.violations == []


def test_a_repeated_add_keeps_the_pods_nic_although_another_has_the_name_now(
    machine: Machine, keepers: tuple[Keeper, Keeper]
) -> None:
    first = add(machine, {"device": "ens1"})
    name_it(machine, "ens1", B, keepers[1])
    assert add(machine, {"device": "ens1"}) == first


def after(machine: Machine, moment: str, act: Callable[[], None]) -> None:
    """Let something happen once, when the call reaches a moment."""
    left = [act]

    def watch(what: str) -> None:
        if what == moment and left:
            left.pop()()

    machine.kernel.interrupts.append(watch)


def test_an_add_starts_over_if_the_name_moves_to_another_nic_before_the_lock(
    machine: Machine, keepers: tuple[Keeper, Keeper]
) -> None:
    def swap() -> None:
        name_it(machine, "ens9", A, keepers[0])
        name_it(machine, "ens1", B, keepers[1])

    after(machine, f"lock {A}", swap)
    add(machine, {"device": "ens1"})
    assert set(machine.disk.files) == {B}
    assert machine.kernel.moments.count(f"lock {B}") == 1


def test_an_add_gives_up_unchanged_if_the_name_keeps_moving(machine: Machine) -> None:
    def swap(what: str) -> None:
        if what.startswith("lock "):
            has_it = A if nic_of(machine).name == "ens1" else B
            name_it(machine, f"ens9{len(machine.kernel.moments)}", has_it)
            name_it(machine, "ens1", B if has_it == A else A)

    machine.kernel.interrupts.append(swap)
    with pytest.raises(DeviceBusy):
        add(machine, {"device": "ens1"})
    assert machine.disk.files == {}
    assert machine.locks == set()


def test_two_netdevs_of_a_device_never_share_a_record(machine: Machine) -> None:
    kernel = machine.kernel
    first, second = kernel.plug("0000:03:00.0", "p0", "p1").links
    kernel.configure(first, (Address(ipaddress.ip_interface("203.0.113.1/24")),))
    keeper = Keeper(machine, first)
    add(machine, {"device": "p0"})
    kernel.rename(second, "p0")
    before = machine.disk.records()
    with pytest.raises(DeviceHeld):
        ask(
            machine,
            Verb.ADD,
            config_for(hwaddr=second.mac),
            container="pod2",
            netns="/run/netns/pod2",
        )
    assert machine.disk.records() == before
    kernel.rename(second, "p1")
    ask(machine, Verb.DEL, config_for())
    assert keeper.is_whole()


def test_two_netdevs_on_no_bus_never_share_a_record(machine: Machine) -> None:
    """Then only the name on the host identifies a record; the earlier one is not overwritten."""
    kernel = machine.kernel
    first = kernel.add_link("veth0", kind="veth")
    kernel.configure(first, (Address(ipaddress.ip_interface("203.0.113.1/24")),))
    keeper = Keeper(machine, first)
    add(machine, {"device": "veth0"})
    before = machine.disk.records()
    kernel.add_link("veth0", kind="veth")
    with pytest.raises(AmdcniError):
        add(machine, {"device": "veth0"}, pod=2)
    assert machine.disk.records() == before
    ask(machine, Verb.DEL, config_for())
    assert keeper.is_whole()
