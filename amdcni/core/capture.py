"""What of a host netdev is kept in a record, and what is still lacking when it comes back."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import attrs

from amdcni.core.host import (
    Address,
    Details,
    IpAddress,
    Neighbour,
    Netdev,
    Qdisc,
    Route,
    Values,
    names_of,
)
from amdcni.core.kernel_made import is_eui64, is_kernels, remade_addresses, remakes_route
from amdcni.core.names import IFNAME_MAX_BYTES, IfName, MacAddress, is_mark
from amdcni.core.routes import SeenRoutes, describe, due_on_host, is_lacking


@attrs.frozen
class Captured:
    """A host netdev as it has to come back: who it is, and the configuration that a move loses.

    None says that nothing is known, and leaves what is there; but a netdev whose `alias` is None
    had none.

    A new captured attribute is a field here, read in `capture`, compared in `differences`, and put
    back by `effects.homecoming`.
    """

    ifname: IfName
    ifindex: int
    mac: MacAddress | None = None
    permanent_mac: MacAddress | None = None
    parent: str | None = None
    kind: str | None = None
    link_type: int | None = None
    port_name: str | None = None
    port_id: str | None = None
    up: bool = False
    alias: str | None = None
    altnames: tuple[str, ...] | None = None
    mtu: int | None = None
    txqlen: int | None = None
    group: int | None = None
    flags: int | None = None
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    sysctls: Values = attrs.field(factory=dict)
    token: IpAddress | None = None
    qdisc: Qdisc | None = None
    eui64: bool = False
    """Whether the kernel had made a link-local address of the hardware address."""
    carrier: bool = False
    """Whether it had a link; that is nothing to restore, but CHECK looks whether it still has."""


def capture(netdev: Netdev, details: Details, *, protocols_reported: bool) -> Captured:
    """Everything of `netdev` that a stay in a pod may lose or change, to be given back.

    `protocols_reported` is `host.reports_protocols` of the host.
    """
    remade = remade_addresses(netdev, details.sysctls, protocols_reported=protocols_reported)
    return Captured(
        ifname=netdev.ifname,
        ifindex=netdev.ifindex,
        mac=netdev.mac,
        permanent_mac=netdev.permanent_mac,
        parent=netdev.parent,
        kind=netdev.kind,
        link_type=netdev.link_type,
        port_name=netdev.port_name,
        port_id=netdev.port_id,
        up=netdev.up,
        alias=netdev.alias,
        altnames=tuple(name for name in netdev.altnames if not is_mark(name)),
        mtu=netdev.mtu,
        txqlen=netdev.txqlen,
        group=netdev.group,
        flags=netdev.flags,
        addresses=tuple(address for address in netdev.addresses if address not in remade),
        routes=tuple(
            route
            for route in details.routes
            if not remakes_route(route, netdev, details.sysctls, remade)
        ),
        neighbours=details.neighbours,
        sysctls=_kept_sysctls(details, netdev.mtu),
        token=netdev.token,
        qdisc=details.qdisc,
        eui64=any(
            is_eui64(address, netdev.mac)
            and is_kernels(address, netdev.mac, protocols_reported=protocols_reported)
            for address in netdev.addresses
        ),
        carrier=netdev.carrier,
    )


ACCEPT_DAD: Final = "ipv6/conf/accept_dad"
IPV6_MTU: Final = "ipv6/conf/mtu"


def _kept_sysctls(details: Details, mtu: int) -> dict[str, int | str]:
    """The sysctls that differ from what a new netdev gets.

    The IPv6 MTU follows that of the netdev unless it was set.  Restoring sets accept_dad for a
    while, so that one is always kept.
    """
    usual: Mapping[str, int | str] = {**details.sysctl_defaults, IPV6_MTU: str(mtu)}
    return {
        name: value
        for name, value in details.sysctls.items()
        if usual.get(name) != value or name == ACCEPT_DAD
    }


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


def aged_routes(routes: Iterable[Route], elapsed_s: int) -> tuple[Route, ...]:
    """The routes as they are to be set `elapsed_s` seconds after they were read."""
    return tuple(
        attrs.evolve(route, expires_s=_remaining(route.expires_s, elapsed_s))
        for route in routes
        if route.expires_s is None or route.expires_s > elapsed_s
    )


def _remaining(lifetime_s: int | None, elapsed_s: int) -> int | None:
    return None if lifetime_s is None else max(0, lifetime_s - elapsed_s)


LIFETIME_TOLERANCE_S: Final = 5
"""How far a lifetime may be off when it is read back: calls take time, the kernel rounds."""


_FIRST_SYSCTLS: Final = ("ipv6/conf/disable_ipv6", "ipv6/conf/stable_secret")
"""The secret sets the address generation mode too."""

_GENERATION: Final = ("ipv6/conf/stable_secret", "ipv6/conf/addr_gen_mode")


def sysctls_in_order(wanted: Captured, *, late: bool) -> list[tuple[str, int | str]]:
    """The sysctls to restore, those to set before the netdev goes up or the `late` ones.

    Late comes the MTU, which is set anew when the netdev goes up; accept_dad, so that addresses are
    set before duplicates are looked for; and how addresses are generated, if there was one of
    another kind before.
    """
    last = (IPV6_MTU, ACCEPT_DAD, *(_GENERATION if wanted.eui64 else ()))
    names = sorted(wanted.sysctls, key=lambda name: name not in _FIRST_SYSCTLS)
    return [(name, wanted.sysctls[name]) for name in names if (name in last) == late]


def link_changes(wanted: Captured, seen: Netdev) -> dict[str, Any]:
    """The attributes of the netdev, up and down apart, that are not as wanted, as they should be.

    A hardware address of other than 48 bits is the hardware's own and cannot be set.
    """
    changes: dict[str, Any] = {}
    if (seen.alias or None) != wanted.alias:
        changes["alias"] = wanted.alias
    for name in ("mtu", "txqlen", "group", "flags"):
        had = getattr(wanted, name)
        if had is not None and getattr(seen, name) != had:
            changes[name] = had
    if wanted.mac is not None and len(wanted.mac) == _MAC_LENGTH and seen.mac != wanted.mac:
        changes["mac"] = wanted.mac
    return changes


_MAC_LENGTH: Final = len("02:00:00:00:00:00")


def altname_changes(
    wanted: Captured, seen: Netdev, others: Iterable[Netdev]
) -> tuple[list[str], list[str]]:
    """The alternative names to add and to drop; one that another netdev has now cannot come back.

    The netdev itself may have one of them as its name.  A mark is none that anybody had.
    """
    if wanted.altnames is None:
        return [], []
    taken = names_of(others) | {seen.ifname} | set(seen.altnames)
    add = [name for name in wanted.altnames if name not in taken]
    kept = set(wanted.altnames)
    return add, [name for name in seen.altnames if name not in kept and not is_mark(name)]


def differences(
    wanted: Captured,
    seen: Netdev,
    details: Details,
    others: tuple[Netdev, ...],
    awaited: Collection[str] = (),
) -> list[str]:
    """What `seen` still lacks of `wanted`, one readable line each; empty when the host is whole.

    `others` are the other netdevs of the host, and `awaited` the names of those that are yet to be
    given back.  What is there beyond the wanted is no fault: it is somebody else's work.  A name is
    not compared: a netdev that came back under a free name has all else (`BringHome`).
    """
    found = []
    if seen.up != wanted.up:
        found.append(f"{seen.ifname} is {_up_or_down(seen.up)} and was {_up_or_down(wanted.up)}")
    for name, had in link_changes(wanted, seen).items():
        found.append(f"{seen.ifname} has the {name} {getattr(seen, name)!r} and had {had!r}")
    add, drop = altname_changes(wanted, seen, others)
    found += [f"{seen.ifname} lacks the alternative name {name}" for name in add]
    found += [f"{seen.ifname} has the alternative name {name} besides" for name in drop]
    by_identity = {address.identity: address for address in seen.addresses}
    for address in wanted.addresses:
        there = by_identity.get(address.identity)
        if there is None:
            found.append(f"{seen.ifname} lacks {address.interface}")
        else:
            lines = deviations(address, there)
            found += [f"{seen.ifname}: {address.interface} {line}" for line in lines]
    routes = SeenRoutes(details.routes)
    for route in due_on_host(wanted.routes, wanted.ifname, seen, others):
        if is_lacking(route, routes, awaited):
            found.append(f"{seen.ifname} lacks {describe(route)}")
    neighbours = set(details.neighbours)
    for neighbour in wanted.neighbours:
        if neighbour not in neighbours:
            found.append(f"{seen.ifname} lacks the neighbour {neighbour.address}")
    for name, value in wanted.sysctls.items():
        if details.sysctls.get(name) != value:
            has = details.sysctls.get(name)
            found.append(f"{seen.ifname} has {name} = {has} and had {value}")
    if wanted.token is not None and seen.token != wanted.token:
        found.append(f"{seen.ifname} has the token {seen.token} and had {wanted.token}")
    if wanted.qdisc is not None and details.qdisc != wanted.qdisc:
        found.append(f"{seen.ifname} lacks the qdisc {wanted.qdisc.kind}")
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
