"""A node with four NICs, each of a different kind, and a twin of one that is never lent."""

from functools import partial

from amdcni.core.host import Address
from amdcni.core.spec import Verb
from tests.unit.fake_machine import Machine, furnish
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper

A, B, C = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"
V, TWIN = "@vlan7", "@vlan8"
"""Two VLANs of one NIC: of one kind, with one hardware address, and on no bus."""
NICS = (A, B, C, V)
REFUSED = "192.0.2.9/24"
"""The address that the host may refuse."""

BOOT: dict[str, tuple[str, tuple[Address, ...], bool, str]] = {
    A: (
        "ens1",
        tuple(map(address, ["192.0.2.1/31", REFUSED, "fd00::1/64", "fd00::2/64", "fe80::1/64"])),
        True,
        "",
    ),
    B: ("ens2", (address("198.51.100.1/31"),), True, "to the fabric"),
    C: ("ens3", (address("203.0.113.1/24"),), False, ""),
    V: ("vlan7", (address("10.7.0.1/24"), address("fd07::1/64")), True, ""),
    TWIN: ("vlan8", (address("10.8.0.1/24"),), True, ""),
}
"""What the node's boot configures: name, addresses, up, alias."""

NOT_READY = {A: 6}
"""How many requests come before the link of a NIC is ready, once it is up."""


def booted(machine: Machine, device: str) -> Link:
    """The NIC, freshly configured by the node's boot."""
    name, addresses, up, alias = BOOT[device]
    if device in machine.kernel.functions:
        link = machine.kernel.functions[device].links[0]
        link.name = name
    elif device in (V, TWIN):
        link = machine.kernel.add_link(name, kind="vlan")
        link.mac = "02:00:00:00:00:77"
    else:
        (link,) = machine.kernel.plug(device, name, virtio=device == B).links
    link.requests_until_ready = 0
    machine.kernel.configure(link, addresses, up=up, alias=alias)
    furnish(machine, link)
    link.requests_until_ready = NOT_READY.get(device, 0)
    return link


def config_of(device: str | None, name: str | None = None, **keys: object) -> dict[str, object]:
    """The configuration for a NIC, by its device and perhaps also the `name` of its netdev."""
    if device is None:
        return config_for(**keys)
    if device in (V, TWIN):
        return config_for(device=name or BOOT[device][0], **keys)
    return config_for(device, **({} if name is None else {"device": name}), **keys)


def new_node(
    mover: str, ipam: object, device: str = A
) -> tuple[Machine, Keeper, dict[str, object]]:
    machine = Machine(mover=mover)
    twin = Keeper(machine, booted(machine, TWIN))
    machine.kernel.watchers.append(partial(stays_as_it_was, twin))
    keeper = Keeper(machine, booted(machine, device))
    for number in (1, 2):
        machine.kernel.make_netns(f"/run/netns/pod{number}")
    config = config_of(device)
    return machine, keeper, {**config, "ipam": ipam} if ipam else config


def nic_of(key: str) -> str:
    """The NIC of a record: its device if that is on a bus, whichever netdev the record is about."""
    return key.partition("@")[0] or key


def stays_as_it_was(twin: Keeper) -> None:
    """What is never lent is not touched, however much it looks like what is lent."""
    if not twin.is_whole():
        twin.machine.kernel.violations.append(f"{twin.original.ifname} was touched")


def is_in_pod(machine: Machine, keeper: Keeper, number: int, ipam: object) -> bool:
    """Whether the pod has what an ADD promises."""
    link, due = keeper.link, keeper.given
    if ipam:
        due = {machine.plugins.leases.get((f"pod{number}", "net1"), "no lease")}
    given = {str(own.address.interface) for own in link.addresses if not own.by_kernel}
    where = machine.kernel.paths[f"/run/netns/pod{number}"]
    return (link.space, link.name, link.up, given) == (where, "net1", True, due)


def delete_it(machine: Machine, config: dict[str, object]) -> None:
    ask(machine, Verb.DEL, config)


def delete_by_id_alone(machine: Machine, config: dict[str, object]) -> None:
    ask(machine, Verb.DEL, config_for(), netns=None)
