"""What of a host netdev is kept in a record, and what the kernel is left to make again."""

import ipaddress
from collections.abc import Iterable
from typing import Final

import attrs

from amdcni.core.host import PROTO_KERNEL, TEMPORARY, Address, AddressFlag, IpInterface, Netdev
from amdcni.core.names import IFNAME_MAX_BYTES, IfName, MacAddress


@attrs.frozen
class Captured:
    """A host netdev as it has to come back: who it is, and the configuration that a move loses.

    A new captured attribute is a field here, read in `capture`, put back by `effects.netlink` and
    compared in `differences`.
    """

    ifname: IfName
    ifindex: int
    mac: MacAddress | None = None
    mtu: int | None = None
    permanent_mac: MacAddress | None = None
    parent: str | None = None
    kind: str | None = None
    up: bool = False
    alias: str | None = None
    addresses: tuple[Address, ...] = ()


def capture(netdev: Netdev, *, protocols_reported: bool) -> Captured:
    """Everything of `netdev` that a change of its network namespace loses, to be given back.

    `protocols_reported` is `host.reports_protocols` of the host.
    """
    return Captured(
        ifname=netdev.ifname,
        ifindex=netdev.ifindex,
        mac=netdev.mac,
        mtu=netdev.mtu,
        permanent_mac=netdev.permanent_mac,
        parent=netdev.parent,
        kind=netdev.kind,
        up=netdev.up,
        alias=netdev.alias,
        addresses=tuple(
            address
            for address in netdev.addresses
            if not kernel_makes(address, netdev.mac, protocols_reported=protocols_reported)
        ),
    )


_LINK_LOCAL: Final = ipaddress.IPv6Network("fe80::/64")


def kernel_makes(address: Address, mac: MacAddress | None, *, protocols_reported: bool) -> bool:
    """Whether the kernel made `address` by itself and will do so again: never to be set by hand.

    Privacy addresses and stable private ones have a flag that nobody else can set.  For the rest,
    IFA_PROTO says it where
    the kernel reports it.  Elsewhere addresses from router advertisements show by a finite lifetime
    and the form of SLAAC, and the link-local address by its EUI-64 of `mac`; a link-local address
    of any other form might have been set by hand and is kept.
    """
    if address.family == 4:
        return False
    if address.flags & (TEMPORARY | AddressFlag.STABLE_PRIVACY):
        return True
    if protocols_reported:
        return address.proto in PROTO_KERNEL
    if address.interface.network == _LINK_LOCAL:
        return mac is not None and address.interface.ip == eui64_link_local(mac)
    return address.valid_s is not None and (
        bool(address.flags & AddressFlag.MANAGETEMPADDR) or _ends_in_eui64(address.interface, mac)
    )


def eui64_link_local(mac: MacAddress) -> ipaddress.IPv6Address | None:
    """The link-local address that `mac` yields (RFC 4291, appendix A); None unless of 48 bits."""
    octets = bytes.fromhex(mac.replace(":", ""))
    if len(octets) != 6:
        return None
    interface_id = bytes([octets[0] ^ 0x02]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface_id)


def _ends_in_eui64(interface: IpInterface, mac: MacAddress | None) -> bool:
    link_local = None if mac is None else eui64_link_local(mac)
    return link_local is not None and interface.ip.packed[8:] == link_local.packed[8:]


def in_setting_order(addresses: Iterable[Address]) -> list[Address]:
    """The addresses in the order in which they have to be set so that they are listed as they were.

    The kernel lists IPv4 addresses as they came, a primary one before its secondaries, but the IPv6
    address that came last first (net/ipv6/addrconf.c, ipv6_link_dev_addr).
    """
    listed = list(addresses)
    fourth = [address for address in listed if address.family == 4]
    return fourth + [address for address in reversed(listed) if address.family == 6]


def relabelled(addresses: Iterable[Address], old: IfName, new: IfName) -> tuple[Address, ...]:
    """The addresses of a netdev `old` for the time that it is called `new`.

    An IPv4 label begins with the netdev's name.  Where the rest does not fit behind a longer name,
    the label is the name alone.
    """
    return tuple(
        attrs.evolve(address, label=_relabelled(address.label, old, new)) for address in addresses
    )


def _relabelled(label: str | None, old: IfName, new: IfName) -> str | None:
    if label is None or not (label == old or label.startswith(f"{old}:")):
        return label
    renamed = f"{new}{label.removeprefix(old)}"
    return renamed if len(renamed.encode()) <= IFNAME_MAX_BYTES else new


def aged(addresses: Iterable[Address], elapsed_s: int) -> tuple[Address, ...]:
    """The addresses as they are to be set `elapsed_s` seconds after they were read.

    A finite lifetime goes on meanwhile: what remains of it is left, and an address whose valid
    lifetime has run out is gone.  A preferred lifetime that has run out leaves 0: deprecated.
    """
    return tuple(
        attrs.evolve(
            address,
            valid_s=_remaining(address.valid_s, elapsed_s),
            preferred_s=_remaining(address.preferred_s, elapsed_s),
        )
        for address in addresses
        if address.valid_s is None or address.valid_s > elapsed_s
    )


def _remaining(lifetime_s: int | None, elapsed_s: int) -> int | None:
    return None if lifetime_s is None else max(0, lifetime_s - elapsed_s)


LIFETIME_TOLERANCE_S: Final = 5
"""How far a lifetime may be off when it is read back: calls take time, the kernel rounds."""


def differences(wanted: Captured, seen: Netdev) -> list[str]:
    """What `seen` still lacks of `wanted`, one readable line each; empty when the host is whole.

    Addresses that are there beyond the wanted ones are no fault: they are somebody else's work.
    A name is not compared: a netdev that came back under a free name has all else (`BringHome`).
    """
    found = []
    if seen.up != wanted.up:
        found.append(f"{seen.ifname} is {_up_or_down(seen.up)} and was {_up_or_down(wanted.up)}")
    if (seen.alias or None) != wanted.alias:
        found.append(f"{seen.ifname} has the alias {seen.alias!r} and had {wanted.alias!r}")
    by_identity = {address.identity: address for address in seen.addresses}
    for address in wanted.addresses:
        there = by_identity.get(address.identity)
        if there is None:
            found.append(f"{seen.ifname} lacks {address.interface}")
        else:
            lines = deviations(address, there)
            found += [f"{seen.ifname}: {address.interface} {line}" for line in lines]
    return found


def _up_or_down(up: bool) -> str:
    return "up" if up else "down"


def deviations(wanted: Address, seen: Address) -> list[str]:
    """What of an address is not as wanted, one readable line each."""

    def plain(address: Address) -> dict[str, object]:
        return {
            "broadcast": address.broadcast,
            "label": address.label,
            "scope": address.scope,
            "flags": address.settable_flags,
            "metric": address.metric,
            "proto": address.proto,
        }

    deviating = [
        f"has {name} {plain(seen)[name]} and had {value}"
        for name, value in plain(wanted).items()
        if plain(seen)[name] != value
    ]
    for name in ("valid_s", "preferred_s"):
        had, has = getattr(wanted, name), getattr(seen, name)
        if (had is None) != (has is None) or abs((had or 0) - (has or 0)) > LIFETIME_TOLERANCE_S:
            deviating.append(f"has {name} {has} and had {had}")
    return deviating
