"""A node with two NICs and two pods, and the calls that are made on it.

The fixtures `machine`, `kernel`, `nic`, `keeper` and `other` are of this node.
"""

import ipaddress
from typing import Any

import pytest

from amdcni.core.spec import Result, Verb
from amdcni.verbs.healing import heal as heal_all
from tests.unit.fake_machine import Machine, furnish
from tests.unit.fake_netdevs import Link, Space, address
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper

A, B = "0000:01:00.0", "0000:02:00.0"
POD1, POD2 = "/run/netns/pod1", "/run/netns/pod2"


by_delegate = pytest.mark.parametrize("machine", ["delegate"], indirect=True)
"""For tests of what a call of the delegate does."""


def booted(mover: str) -> Machine:
    """The node; its first NIC has everything that a fabric NIC has."""
    machine = Machine(mover=mover)
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
    return machine


def add(machine: Machine, device: str | None = A, /, *, pod: int = 1, **keys: Any) -> Result:
    """ADD of a NIC as net1 to pod number `pod`."""
    config = config_for(device, **keys)
    container, netns = f"pod{pod}", f"/run/netns/pod{pod}"
    result = ask(machine, Verb.ADD, config, container=container, netns=netns)
    assert result is not None
    return result


def delete(
    machine: Machine,
    device: str | None = A,
    /,
    *,
    pod: int = 1,
    netns: str | None = "its own",
    **keys: Any,
) -> None:
    """DEL of net1 of pod number `pod`."""
    path = f"/run/netns/pod{pod}" if netns == "its own" else netns
    ask(machine, Verb.DEL, config_for(device, **keys), container=f"pod{pod}", netns=path)


def pod_of(machine: Machine, number: int = 1) -> Space:
    return machine.kernel.paths[f"/run/netns/pod{number}"]


def interfaces_of(link: Link) -> list[str]:
    """The addresses that somebody gave to the netdev."""
    return [str(own.address.interface) for own in link.addresses if not own.by_kernel]


def process(machine: Machine) -> FakeNode:
    """The process that served the last call."""
    assert machine.last is not None
    return machine.last


def calls(machine: Machine) -> list[tuple[str, str]]:
    return [(call.plugin, call.verb.value) for call in machine.plugins.executed]


def reboot(machine: Machine, keeper: Keeper) -> None:
    """The machine reboots, and its boot configures the NIC differently."""
    machine.locks.clear()
    machine.kernel.watchers.remove(keeper.watch)
    machine.kernel.reboot()
    keeper.link.name = "ens1"
    machine.kernel.configure(keeper.link, (address("203.0.113.77/24"),), up=True)
    keeper.remember()
    machine.kernel.watchers.append(keeper.watch)


def leave_unfinished(
    machine: Machine, device: str = B, container: str = "killed", **keys: Any
) -> None:
    """Kill an ADD of `device` while the netdev is in the pod."""
    with pytest.raises(Killed):
        ask(
            machine,
            Verb.ADD,
            config_for(device, **keys),
            container=container,
            netns=POD2,
            kill_before="before Confirm",
        )
    assert machine.disk.markers == {device}
    assert machine.kernel.functions[device].links[0].space is not machine.kernel.host


def heal(machine: Machine, *, dry_run: bool = False) -> dict[str, tuple[str, bool]]:
    """The condition of each device, and whether it was healed."""
    node = FakeNode(machine)
    with machine.running(node):
        findings = heal_all(node, dry_run=dry_run)
    return {str(f.record.key): (f.condition.value, f.healed) for f in findings}


def no_ipam_plugin(machine: Machine) -> None:
    machine.plugins.installed.remove("host-local")


def full_disk(machine: Machine) -> None:
    machine.disk.full = True


def read_only_disk(machine: Machine) -> None:
    machine.disk.read_only = True


def second_netdev(machine: Machine) -> None:
    link = machine.kernel.add_link("ens1np1")
    link.function = link.parent = A
    machine.kernel.functions[A].links.append(link)


def moments_of_the_delegate(verb: Verb, **keys: Any) -> int:
    """How many moments the delegate has in a call that succeeds."""
    machine = Machine()
    (link,) = machine.kernel.plug(A, "ens1").links
    machine.kernel.configure(link, (address("192.0.2.1/31"),))
    machine.kernel.make_netns(POD1)
    add(machine, **keys)
    if verb is Verb.DEL:
        delete(machine, **keys)
    calls = [e for e in machine.plugins.executed if (e.plugin, e.verb) == ("host-device", verb)]
    return calls[0].moments
