"""`amdcni devices`: the node's NICs, where each one is, and what will come back."""

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Final

import attrs

from amdcni.cli.node import on_this_node_silently, read_records, set_aside_in
from amdcni.cli.printing import make_table, print_json, print_line, print_whole
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition
from amdcni.core.errors import StateFailure
from amdcni.core.host import USERSPACE_DRIVERS
from amdcni.core.mapping import GoMapping
from amdcni.core.names import DeviceKey
from amdcni.core.nics import Nic, NicKind, NicNetdev, Records, nics_of
from amdcni.core.policy import POLICY_PATH, Denial, Policy, unusable
from amdcni.core.protection import Surroundings
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.effects.nics import read_nics
from amdcni.effects.node import LinuxNode
from amdcni.effects.policy import find_policy
from amdcni.verbs.healing import look_at


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Show the NICs; 1 if a record could not be read."""
    data_dir, alone = options.data_dir or DEFAULT_DATA_DIR, options.data_dir is not None
    with on_this_node_silently(data_dir, alone=alone) as node:
        records = find_records(node, data_dir)
        policy = find_policy()
        nics = see(node, records, policy or Policy())
        looked_at = () if records is None else look_at(records.read, node)
    found = {finding.record.key: finding.condition for finding in looked_at}
    if options.json:
        print_json([as_json(nic, found) for nic in nics], stdout)
    else:
        print_table(nics, found, stdout)
        for remark in remarks_on(nics, records, policy):
            print_line(remark, stdout)
    return 1 if records is not None and records.faults else 0


def see(node: LinuxNode, records: Records | None, policy: Policy) -> tuple[Nic, ...]:
    """The NICs of this node, as `policy` has them; raises KernelRefused."""
    seen, netdevs = read_nics(), node.host().netdevs
    names = {port.ifname for nic in seen for port in nic.ports}
    load = node.load(netdevs, [netdev for netdev in netdevs if netdev.ifname in names])
    return nics_of(seen, Surroundings(netdevs, node.own.ways_out(), load), records, policy)


def find_records(node: LinuxNode, data_dir: str) -> Records | None:
    """The records in `data_dir`, the folder of `node`; None if this user may not read them.

    Raises: StateFailure if the folder cannot be read for another reason.
    """
    try:
        records = read_records(node)
        aside = {key: says for key, says in set_aside_in(node.store) if key not in records.faults}
        return attrs.evolve(records, set_aside=aside)
    except StateFailure:
        if os.access(data_dir, os.R_OK | os.X_OK):
            raise
        return None


def remarks_on(
    nics: tuple[Nic, ...], records: Records | None, policy: Policy | None
) -> Iterator[str]:
    """What to print below the table, one sentence each; without a `policy` it is not known."""
    if nics and all(nic.bus.amd is None for nic in nics):
        yield "None of these NICs is AMD's, but amd-host-device lends any NIC."
    if policy is None:
        yield f"It is not known which NICs are denied: only root may read {POLICY_PATH}."
    elif policy.fault is not None:
        yield f"{unusable(policy.fault)}; see amdcni doctor."
    if records is None:
        yield "It is not known which pods have which NICs: only root may read the records."
        return
    shown = {nic.bus_device for nic in nics}
    for key in (*(record.key for record in records.read), *records.faults):
        if key.bus_device not in shown:
            yield f"There is also a record of {key}: amdcni attachments show {key}"
    yield from map(_sentence, records.set_aside.values())


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


# ---- for programs


Found = Mapping[DeviceKey, Condition]
"""What has become of each attachment, by the key of its record."""


def as_json(nic: Nic, found: Found) -> dict[str, Any]:
    """A NIC for programs."""
    bus, records = nic.bus, nic.records
    return {
        "device": str(nic.bus_device),
        "kind": bus.kind.value,
        "parent": None if bus.parent is None else str(bus.parent),
        "vfs": bus.vfs,
        "vendor": bus.device.hardware.vendor,
        "product": bus.device.hardware.product,
        "amd": bus.amd is not None,
        "driver": bus.device.driver,
        "numa_node": bus.numa_node,
        "rdma": list(bus.rdma),
        "netdevs": [_netdev_as_json(netdev) for netdev in nic.netdevs],
        "held": None
        if records is None
        else [_holder_as_json(each, nic, found[each.key]) for each in records.read],
        "lent_by_go": None if nic.lent_by_go is None else _mapping_as_json(nic.lent_by_go),
        "faults": [] if records is None else list(records.faults.values()),
        "set_aside": [] if records is None else list(records.set_aside.values()),
        "lost": None if nic.lost is None else [each.netdev.ifname for each in nic.lost],
        "denied": _says(nic.denial),
    }


def _netdev_as_json(netdev: NicNetdev) -> dict[str, Any]:
    return {
        "ifname": netdev.netdev.ifname,
        "link": netdev.link.value,
        "operstate": netdev.port.operstate,
        "speed_mbps": netdev.port.speed_mbps,
        "mtu": netdev.netdev.mtu,
        "addresses": [str(address.interface) for address in netdev.netdev.addresses],
        "uplink": netdev.uplink,
        "protected": None if netdev.protection is None else netdev.protection.why,
        "denied": _says(netdev.denial),
    }


def _says(denial: Denial | None) -> str | None:
    return None if denial is None else denial.says


def _holder_as_json(record: Attachment, nic: Nic, condition: Condition) -> dict[str, Any]:
    return {
        "container_id": record.id.container_id,
        "ifname": record.id.ifname,
        "netns": record.netns.path,
        "network": record.network,
        "phase": record.phase.value,
        "found": condition.value,
        "away": record in nic.away,
        "host_ifname": record.host_ifname,
        "host_addresses": list(record.host_addresses),
    }


def _mapping_as_json(mapping: GoMapping) -> dict[str, Any]:
    return {
        "host_ifname": mapping.ifname,
        "host_addresses": [str(address) for address in mapping.addresses],
    }


# ---- for people


def print_table(nics: tuple[Nic, ...], found: Found, stdout: IO[str]) -> None:
    """Print the NICs as a table, or one sentence if there are none."""
    from rich.text import Text

    if not nics:
        print_line("This node has no NIC on a bus, so there is none to lend.", stdout)
        return
    headings = ("device", "what it is", "netdev", "addresses", "lent to")
    table = make_table("NICs of this node", *headings)
    table.show_lines = True
    for nic in nics:
        back = _coming_back(nic, found)
        cells = (
            _place(nic),
            _traits(nic),
            _netdevs(nic, back),
            _addresses(nic, back),
            _holders(nic, found),
        )
        style = "bold" if nic.bus.amd else None
        table.add_row(*(Text("\n".join(lines)) for lines in cells), style=style)
    print_whole(table, stdout)


def _place(nic: Nic) -> Iterator[str]:
    yield str(nic.bus_device)
    if nic.bus.parent is not None:
        yield f"{_SHORT[nic.bus.kind]} of {nic.bus.parent}"
    if nic.bus.vfs:
        yield f"with {nic.bus.vfs} VF{'s' if nic.bus.vfs > 1 else ''}"


_SHORT: Final = {NicKind.PHYSICAL: "PF", NicKind.VIRTUAL: "VF", NicKind.SUB: "SF"}


def _traits(nic: Nic) -> Iterator[str]:
    yield nic.bus.amd or f"vendor {nic.bus.device.hardware.vendor or 'not known'}"
    yield nic.bus.device.driver or "no driver"
    if nic.bus.numa_node is not None:
        yield f"NUMA node {nic.bus.numa_node}"
    if nic.bus.rdma:
        yield f"RDMA {', '.join(nic.bus.rdma)}"


def _coming_back(nic: Nic, found: Found) -> tuple[Attachment, ...]:
    """The attachments whose netdevs are not on the host with what the records say."""
    read = () if nic.records is None else nic.records.read
    away = [each.key for each in nic.away]
    on_host = (Condition.RETURNED, Condition.RESET, Condition.UNFINISHED)
    return tuple(
        each
        for each in read
        if each.key in away or (found[each.key] in on_host and not _is_back(each, nic))
    )


def _is_back(record: Attachment, nic: Nic) -> bool:
    """Whether a netdev of the NIC has the name and the addresses from the record."""
    there = [each.netdev for each in nic.netdevs if each.netdev.ifname == record.host_ifname]
    held = {str(address.interface) for netdev in there for address in netdev.addresses}
    return bool(there) and held.issuperset(record.host_addresses)


def _netdevs(nic: Nic, back: Iterable[Attachment]) -> Iterator[str]:
    for each in nic.netdevs:
        yield each.netdev.ifname
        speed = each.port.speed_mbps
        yield each.link if speed is None else f"{each.link}, {_spoken(speed)}"
        yield f"MTU {each.netdev.mtu}"
        if each.uplink:
            yield "uplink"
        elif each.protection is not None:
            yield each.protection.why
        if each.denial is not None:
            yield each.denial.short
        if each in (nic.lost or ()):
            yield "looks lost"
    for record in back:
        if record.host_ifname is not None:
            yield record.host_ifname
            yield "comes back"
    if nic.lent_by_go is not None:
        yield nic.lent_by_go.ifname
        yield "comes back"
    if nic.bus.device.driver in USERSPACE_DRIVERS:
        yield "(none)"
    elif not (nic.netdevs or nic.away or nic.lent_by_go):
        yield "(not on the host)"
    if nic.denial is not None and not nic.netdevs:
        yield nic.denial.short


def _spoken(speed_mbps: int) -> str:
    return f"{speed_mbps / 1000:g} Gb/s" if speed_mbps >= 1000 else f"{speed_mbps} Mb/s"


def _addresses(nic: Nic, back: Iterable[Attachment]) -> Iterator[str]:
    for each in nic.netdevs:
        yield from (str(address.interface) for address in each.netdev.addresses)
    for record in back:
        yield from record.host_addresses
    if nic.lent_by_go is not None:
        yield from map(str, nic.lent_by_go.addresses)


def _holders(nic: Nic, found: Found) -> Iterator[str]:
    if nic.records is None:
        yield "(not known)"
        return
    for record in nic.records.read:
        yield record.id.container_id[:13]
        yield f"as {record.id.ifname}"
        yield record.network
        if found[record.key] is not Condition.HELD:
            yield f"but {found[record.key].about.words}"
    if nic.lent_by_go is not None:
        yield "by AMD's Go plugin"
    yield from nic.records.faults.values()
    if nic.records.set_aside:
        yield "a damaged record was set aside"
