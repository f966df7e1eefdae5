"""`amdcni devices`: the node's NICs, where each one is, and what will come back."""

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Final

import attrs

from amdcni.cli.columns import Column, Row, State, Tone
from amdcni.cli.known import (
    HOLDER,
    IDENTITY,
    Known,
    holder_cells,
    identity_cells,
    look_at_all,
    needs,
    state_of,
)
from amdcni.cli.listing import Listing, serve_listing
from amdcni.cli.node import on_this_node_silently, read_records, set_aside_in
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition, Seen
from amdcni.core.errors import StateFailure
from amdcni.core.host import USERSPACE_DRIVERS
from amdcni.core.mapping import GoMapping
from amdcni.core.names import DeviceKey
from amdcni.core.nics import BusNic, Nic, NicKind, NicNetdev, Records, nics_of
from amdcni.core.policy import POLICY_PATH, Denial, Policy, unusable
from amdcni.core.protection import Surroundings
from amdcni.core.rdma import RdmaMode
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.core.spec import AttachmentId
from amdcni.effects.nics import read_nics
from amdcni.effects.policy import find_policy
from amdcni.ports import OpenNode


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Show the NICs; 1 if a record could not be read."""
    return serve_listing(lambda: look(options), options, stdout)


def look(options: argparse.Namespace) -> Listing:
    """The NICs as they are now; nothing is changed."""
    data_dir, alone = options.data_dir or DEFAULT_DATA_DIR, options.data_dir is not None
    with on_this_node_silently(data_dir, alone=alone) as node:
        records = find_records(node, data_dir)
        return listing_of(node, read_nics(), records, find_policy(), options.data_dir)


def listing_of(
    node: OpenNode,
    seen: Iterable[BusNic],
    records: Records | None,
    policy: Policy | None,
    data_dir: str | None,
) -> Listing:
    """The NICs of a node that were `seen`; without root, `records` and `policy` may be None."""
    nics, mode = see(node, seen, records, policy or Policy()), node.rdma().mode
    known = () if records is None else look_at_all(records, node)
    aside = () if records is None else tuple(records.set_aside.values())
    found = {which(each.key, each.record): each for each in known}
    return Listing(
        COLUMNS,
        tuple(row for nic in nics for row in rows_of(nic, found)),
        (
            *remarks_on_rdma(nics, mode),
            *remarks_on(nics, records, policy),
            *needs(known, aside, data_dir),
        ),
        [as_json(nic, found, mode) for nic in nics],
        1 if records is not None and records.faults else 0,
    )


def see(
    node: OpenNode, seen: Iterable[BusNic], records: Records | None, policy: Policy
) -> tuple[Nic, ...]:
    """The NICs that were `seen`, as `policy` has them; raises KernelRefused."""
    seen, netdevs = tuple(seen), node.host().netdevs
    names = {port.ifname for nic in seen for port in nic.ports}
    load = node.load(netdevs, [netdev for netdev in netdevs if netdev.ifname in names])
    return nics_of(seen, Surroundings(netdevs, node.own.ways_out(), load), records, policy)


def find_records(node: OpenNode, data_dir: str) -> Records | None:
    """The records in `data_dir`, the folder of `node`; None if this user may not read them.

    Raises: StateFailure if the folder cannot be read for another reason.
    """
    try:
        records = read_records(node)
        return attrs.evolve(records, set_aside=dict(set_aside_in(node.store)))
    except StateFailure:
        if os.access(data_dir, os.R_OK | os.X_OK):
            raise
        return None


def remarks_on_rdma(nics: tuple[Nic, ...], mode: RdmaMode | None) -> Iterator[str]:
    """What becomes of the RDMA devices of NICs that are lent, if any has some."""
    if any(nic.bus.rdma or nic.rdma_away for nic in nics):
        match mode:
            case RdmaMode.EXCLUSIVE:
                yield "RDMA devices follow their NICs into the pods (exclusive mode)."
            case RdmaMode.SHARED:
                yield "RDMA devices stay: every pod has all of them (shared mode)."


def remarks_on(
    nics: tuple[Nic, ...], records: Records | None, policy: Policy | None
) -> Iterator[str]:
    """What to print below the table, one sentence each; without a `policy` it is not known."""
    if not nics:
        yield "This node has no NIC on a bus, so there is none to lend."
    elif all(nic.bus.amd is None for nic in nics):
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
            yield f"There is also a record of {key}: amdcni show {key}"


# ---- for programs


Which = tuple[DeviceKey, AttachmentId | None]
"""A record: that of a key, and of an attachment unless it cannot be read."""

Found = Mapping[Which, Known]
"""What is known of each record.  Several folders may have one of the same device."""


def which(key: DeviceKey, record: Attachment | None = None) -> Which:
    """What distinguishes a record from all others."""
    return (key, None if record is None else record.id)


def as_json(nic: Nic, found: Found, mode: RdmaMode | None) -> dict[str, Any]:
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
        "rdma_mode": None if mode is None else mode.value,
        "netdevs": [_netdev_as_json(netdev) for netdev in nic.netdevs],
        "held": None
        if records is None
        else [_holder_as_json(each, nic, found[which(each.key, each)]) for each in records.read],
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


def _holder_as_json(record: Attachment, nic: Nic, known: Known) -> dict[str, Any]:
    return {
        "container_id": record.id.container_id,
        "ifname": record.id.ifname,
        "netns": record.netns.path,
        "network": record.network,
        "phase": record.phase.value,
        "found": known.condition and known.condition.value,
        "away": record in nic.away,
        "host_ifname": record.host_ifname,
        "host_addresses": list(record.host_addresses),
        "host_rdma": [device.name for device in record.rdma],
    }


def _mapping_as_json(mapping: GoMapping) -> dict[str, Any]:
    return {
        "host_ifname": mapping.ifname,
        "host_addresses": [str(address) for address in mapping.addresses],
    }


# ---- for people


COLUMNS: Final = (
    *HOLDER[:2],
    Column("LINK", 10),
    Column("DRIVER", 6),
    Column("STATE", 10),
    *HOLDER[2:],
    Column("KIND", 8, only_wide=True),
    Column("VENDOR", 8, only_wide=True),
    Column("NUMA", 4, only_wide=True),
    Column("RDMA", 8, only_wide=True),
    Column("SPEED", 8, only_wide=True),
    Column("MTU", 5, only_wide=True),
    Column("ADDRESSES", 20, only_wide=True),
    *IDENTITY,
    Column("REMARKS", 20, only_wide=True),
)


def rows_of(nic: Nic, found: Found) -> Iterator[Row]:
    """The lines of a NIC: one for each netdev that is on the host or comes back, or one alone."""
    parts = tuple(_parts(nic, found))
    for part in parts:
        ifname = part.holder[1]
        device = str(nic.bus_device)
        yield Row(
            f"{device}@{ifname}" if ifname and len(parts) > 1 else device,
            (
                *part.holder[:2],
                "" if part.netdev is None else part.netdev.link.value,
                nic.bus.device.driver or "",
                part.state,
                *part.holder[2:],
                *_traits(nic),
                *_measures(part.netdev),
                ",".join(part.addresses),
                *identity_cells(part.record),
                "; ".join(part.remarks),
            ),
        )


@attrs.frozen
class _Part:
    """What one line says of a NIC: of a netdev on the host, of one that is lent, or of neither."""

    holder: tuple[str, str, str, str]
    state: State
    netdev: NicNetdev | None = None
    record: Attachment | None = None
    addresses: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def _parts(nic: Nic, found: Found) -> Iterator[_Part]:
    lent_as = []
    for record, home in nic.homes:
        netdev = next((each for each in nic.netdevs if each.netdev == home), None)
        lent_as.append(netdev)
        yield _lent(nic, found[which(record.key, record)], record, netdev)
    for each in nic.netdevs:
        if each not in lent_as:
            yield _on_host(nic, each)
    go = nic.lent_by_go
    if go is not None:
        holder = (str(nic.bus_device), go.ifname, "", "")
        says = ("lent by AMD's Go plugin", "comes back")
        yield _Part(holder, _LENT, addresses=tuple(map(str, go.addresses)), remarks=says)
    for key, fault in () if nic.records is None else nic.records.faults.items():
        yield _Part(holder_cells(key, None), state_of(found[which(key)]), remarks=(fault,))
    if not (lent_as or nic.netdevs or go) and (nic.records is None or not nic.records.faults):
        yield _without_netdev(nic)


def _lent(nic: Nic, known: Known, record: Attachment, netdev: NicNetdev | None) -> _Part:
    """A netdev that is lent or has yet to be restored, with what comes back."""
    there = () if netdev is None else (f"on the host as {netdev.netdev.ifname}",)
    found = () if known.seen == Seen(Condition.HELD) else (known.words,)
    remarks = (*there, *found, *(() if nic.denial is None else (nic.denial.short,)))
    holder = holder_cells(record.key, record)
    return _Part(holder, state_of(known), netdev, record, record.host_addresses, remarks)


def _on_host(nic: Nic, each: NicNetdev) -> _Part:
    addresses = tuple(str(address.interface) for address in each.netdev.addresses)
    holder = (str(nic.bus_device), each.netdev.ifname, "", "")
    remarks = tuple(_remarks(each))
    return _Part(holder, _state_on_host(nic, each), each, None, addresses, remarks)


_LENT: Final = State("lent", Tone.GOOD)
_FREE: Final = State("free", Tone.GOOD)
_PROTECTED: Final = State("protected", Tone.CHANGING)
_DENIED: Final = State("denied", Tone.CHANGING)
_LOST: Final = State("lost", Tone.BAD)
_AWAY: Final = State("away", Tone.CHANGING)
_UNREADABLE: Final = State("unreadable", Tone.BAD)
_UNKNOWN: Final = State("unknown")


def _state_on_host(nic: Nic, each: NicNetdev) -> State:
    if each in (nic.lost or ()):
        return _LOST
    if each.uplink or each.protection is not None:
        return _PROTECTED
    return _FREE if each.denial is None else _DENIED


def _without_netdev(nic: Nic) -> _Part:
    """A NIC that nobody is known to have and that has no netdev on the host."""
    holder = (str(nic.bus_device), "", "", "")
    remarks = () if nic.denial is None else (nic.denial.short,)
    if nic.records is not None and nic.records.set_aside:
        return _Part(holder, _UNREADABLE, remarks=("a damaged record was set aside", *remarks))
    if nic.records is None:
        return _Part(holder, _UNKNOWN, remarks=remarks)
    if nic.bus.device.driver not in USERSPACE_DRIVERS:
        return _Part(holder, _AWAY, remarks=("not on the host", *remarks))
    return _Part(holder, _FREE if nic.denial is None else _DENIED, remarks=remarks)


def _remarks(each: NicNetdev) -> Iterator[str]:
    if each.protection is not None:
        yield each.protection.why
    elif each.uplink:
        yield "uplink"
    if each.denial is not None:
        yield each.denial.short


_SHORT: Final = {NicKind.PHYSICAL: "PF", NicKind.VIRTUAL: "VF", NicKind.SUB: "SF"}


def _traits(nic: Nic) -> tuple[str, str, str, str]:
    bus = nic.bus
    kind = _SHORT[bus.kind] if bus.parent is None else f"{_SHORT[bus.kind]} of {bus.parent}"
    vfs = f", {bus.vfs} VF{'s' if bus.vfs > 1 else ''}" if bus.vfs else ""
    numa = "" if bus.numa_node is None else str(bus.numa_node)
    vendor = bus.amd or bus.device.hardware.vendor or ""
    rdma = ",".join((*bus.rdma, *nic.rdma_away))
    return (f"{kind}{vfs}", vendor, numa, rdma)


def _measures(each: NicNetdev | None) -> tuple[str, str]:
    """The speed and the MTU."""
    if each is None:
        return ("", "")
    speed = each.port.speed_mbps
    return ("" if speed is None else _spoken(speed), str(each.netdev.mtu))


def _spoken(speed_mbps: int) -> str:
    return f"{speed_mbps / 1000:g} Gb/s" if speed_mbps >= 1000 else f"{speed_mbps} Mb/s"
