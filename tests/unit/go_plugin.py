"""AMD's Go plugin on the machine in memory: how it lends a NIC, and what it notes about it.

It is modelled on its source (ROCm/network-operator, cni/plugins/amd-host-device).  The machine is
upgraded afterwards, and its NICs are watched: at each moment everything is on the host, in a
record, or still in the Go plugin's file.
"""

import ipaddress
import json
from typing import Any

import attrs

from amdcni.core.host import Address
from amdcni.core.request import AddRequest
from amdcni.core.spec import Verb
from amdcni.verbs.preview import Preview, preview
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import FakeNode
from tests.unit.fake_plugins import Execution
from tests.unit.fake_runtime import ask, config_for, request_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, POD2, A, B

OTHERS: dict[str, Any] = {"0000:77:00.0": {"hostInterfaceName": "ens77", "later": [1.5, None]}}
"""Entries that no test removes."""


def plain(text: str, name: str) -> Address:
    """An address as the Go plugin sets it: with its label, and nothing else."""
    interface = ipaddress.ip_interface(text)
    return Address(interface, label=name if interface.version == 4 else None)


@attrs.define(eq=False)
class Watcher(Keeper):
    """A keeper that accepts an entry in the Go plugin's file in place of a record."""

    def is_recorded(self) -> bool:
        return super().is_recorded() or self._is_mapped()

    def _is_mapped(self) -> bool:
        entry = mappings(self.machine).get(self.link.function or "", {})
        interfaces = [str(address.interface) for address, _, _ in self.original.addresses]
        return bool(entry) and (
            entry["hostInterfaceName"] == self.original.ifname
            and set(entry["hostInterfaceIPs"] or ()) == set(interfaces)
            and (entry["state"] == "UP") == self.original.up
        )


def mappings(machine: Machine) -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(machine.disk.mappings or b"{}")
    return entries


def write(machine: Machine, entries: object) -> None:
    """The Go plugin writes its file."""
    machine.disk.mappings = json.dumps(entries, indent=2).encode()
    machine.disk.mappings_written = (machine.kernel.boot, machine.kernel.now_s)


def lend(
    machine: Machine,
    device: str = A,
    pod: int = 1,
    *,
    ifname: str = "net1",
    ipam: object = None,
    early: bool = False,
) -> None:
    """ADD of the Go plugin; `early` versions kept the name that the NIC had on the host."""
    (link,) = machine.kernel.functions[device].links
    own = [str(o.address.interface) for o in link.addresses if not o.by_kernel]
    entry = {
        "hostInterfaceName": link.name,
        "hostInterfaceIPs": own or None,
        "state": "UP" if link.up else "DOWN",
    }
    static = {"type": "static", "addresses": [{"address": text} for text in own]}
    watched, machine.kernel.watchers = machine.kernel.watchers, []
    call = Execution(
        plugin="host-device",
        verb=Verb.ADD,
        config=config_for(device, ipam=ipam or (static if own else {})),
        container_id=f"pod{pod}",
        ifname=link.name if early else ifname,
        netns=f"/run/netns/pod{pod}",
    )
    machine.plugins.execute(call)
    write(machine, {**mappings(machine), device: entry})
    machine.kernel.watchers = watched
    machine.plugins.executed.clear()


def new_node() -> Machine:
    """A node with two NICs, two pods, and a file of the Go plugin."""
    machine = Machine()
    first = machine.kernel.plug(A, "ens1").links[0]
    second = machine.kernel.plug(B, "ens2").links[0]
    given = ["192.0.2.1/31", "192.0.2.9/24", "fd00::1/64", "fd00::2/127"]
    machine.kernel.configure(first, tuple(plain(text, "ens1") for text in given))
    machine.kernel.configure(second, (plain("198.51.100.1/31", "ens2"),))
    for path in (POD1, POD2):
        machine.kernel.make_netns(path)
    write(machine, OTHERS)
    return machine


def watched(machine: Machine, device: str = A) -> Keeper:
    return Watcher(machine, machine.kernel.functions[device].links[0])


def delete(
    machine: Machine,
    device: str | None = A,
    *,
    pod: int = 1,
    netns: str | None = "its own",
    **keys: Any,
) -> list[str]:
    """DEL of net1 of a pod; the events that it reports."""
    path = f"/run/netns/pod{pod}" if netns == "its own" else netns
    ask(machine, Verb.DEL, config_for(device, **keys), container=f"pod{pod}", netns=path)
    return events(machine)


def add(
    machine: Machine, device: str = A, *, pod: int = 1, ifname: str = "net1", **keys: Any
) -> None:
    config, container, netns = config_for(device, **keys), f"pod{pod}", f"/run/netns/pod{pod}"
    result = ask(machine, Verb.ADD, config, container=container, ifname=ifname, netns=netns)
    assert result is not None


def events(machine: Machine) -> list[str]:
    assert machine.last is not None
    return machine.last.events


def is_over(machine: Machine, device: str = A) -> bool:
    """Whether no trace of the attachment is left."""
    return device not in mappings(machine) and (machine.disk.files, machine.disk.markers) == (
        {},
        set(),
    )


def previewed(machine: Machine, pod: int) -> Preview:
    """What an ADD would do now; asking changes nothing."""
    request = request_for(
        machine, Verb.ADD, config_for(A), container=f"pod{pod}", netns=f"/run/netns/pod{pod}"
    )
    assert isinstance(request, AddRequest)
    before = machine.picture(), machine.disk.mappings
    try:
        return preview(request, FakeNode(machine))
    finally:
        assert (machine.picture(), machine.disk.mappings) == before


def rebooted(machine: Machine, *given: str, name: str = "ens1", up: bool = True) -> Keeper:
    """The NIC, after the node has rebooted and configured it."""
    machine.kernel.watchers.clear()
    machine.kernel.reboot()
    for path in (POD1, POD2):
        machine.kernel.make_netns(path)
    (link,) = machine.kernel.functions[A].links
    link.name = name
    machine.kernel.configure(link, tuple(plain(text, name) for text in given), up=up)
    return watched(machine)
