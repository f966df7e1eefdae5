"""The IP addresses, without those that the kernel makes again by itself."""

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage, remaining
from amdcni.core.aspects.sysctls import SeenSysctls
from amdcni.core.host import Address, Netdev
from amdcni.core.kernel_made import remade_addresses
from amdcni.core.names import IFNAME_MAX_BYTES, IfName

NOUN: Final = None


@attrs.frozen(slots=False, kw_only=True)
class Addresses:
    """The addresses in the order in which the kernel lists them."""

    addresses: tuple[Address, ...] = ()


@attrs.frozen
class SetAddress:
    """An address that is missing, or `differs` in these ways."""

    address: Address
    differs: tuple[str, ...] = ()
    stage = Stage.ADDRESSES

    def describe(self) -> str:
        """The difference."""
        what = ", ".join(self.differs)
        return f"{self.address.interface} {f'has {what}' if what else 'is missing'}"


def keep(netdev: Netdev, seen: SeenSysctls, *, protocols_reported: bool) -> Addresses:
    """All that the kernel does not make again."""
    remade = remade_addresses(netdev, seen.sysctls, protocols_reported=protocols_reported)
    return Addresses(addresses=tuple(each for each in netdev.addresses if each not in remade))


def due(kept: Addresses, netdev: Netdev, seen: object, around: Around) -> list[SetAddress]:
    """Those that are missing or different, in the order in which they have to be set."""
    there = {address.identity: address for address in netdev.addresses}
    changes = []
    for address in in_setting_order(aged(kept.addresses, around.elapsed_s)):
        present = there.get(address.identity)
        differs = () if present is None else tuple(differences(address, present))
        if present is None or differs:
            changes.append(SetAddress(address, differs))
    return changes


def lines(kept: Addresses) -> Iterator[str]:
    """One each."""
    for address in kept.addresses:
        peer = "" if address.peer is None else f" peer {address.peer}"
        label = "" if address.label is None else f" label {address.label}"
        lifetime = "" if address.valid_s is None else f" valid for {address.valid_s} s from then"
        yield f"address {address.interface}{peer}{label}{lifetime}"


def differences(wanted: Address, seen: Address) -> list[str]:
    """How an address differs from the wanted one, in words that follow `has`."""

    def plain(address: Address) -> dict[str, object]:
        return {
            "broadcast": address.broadcast,
            "label": address.label,
            "scope": address.scope,
            "flags": address.settable_flags,
            "metric": address.metric,
            "proto": address.proto,
        }

    now = plain(seen)
    found = [
        f"{name} {now[name]} (was {value})"
        for name, value in plain(wanted).items()
        if now[name] != value
    ]
    for name in ("valid_s", "preferred_s"):
        had, has = getattr(wanted, name), getattr(seen, name)
        if (had is None) != (has is None) or abs((had or 0) - (has or 0)) > LIFETIME_TOLERANCE_S:
            found.append(f"{name} {has} (was {had})")
    return found


LIFETIME_TOLERANCE_S: Final = 5
"""How far a lifetime may be off when it is read back: calls take time, the kernel rounds."""


def in_setting_order(addresses: Iterable[Address]) -> list[Address]:
    """The addresses in the order in which they have to be set so that they are listed as they were.

    The kernel lists IPv4 addresses in the order in which they came, a primary one before its
    secondaries, but of IPv6 addresses the latest first (net/ipv6/addrconf.c, ipv6_link_dev_addr).
    """
    listed = list(addresses)
    fourth = [address for address in listed if address.family == 4]
    return fourth + [address for address in reversed(listed) if address.family == 6]


def relabelled(addresses: Iterable[Address], old: IfName, new: IfName) -> tuple[Address, ...]:
    """The addresses of the netdev `old` while it is called `new`.

    An IPv4 label begins with the netdev's name.  Where the rest does not fit behind a longer name,
    the label is the name alone.
    """
    if old == new:
        return tuple(addresses)
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

    A finite lifetime runs on meanwhile: only what remains of it is left, and an address whose valid
    lifetime has run out is gone.  A preferred lifetime that has run out leaves 0: deprecated.
    """
    return tuple(
        attrs.evolve(
            address,
            valid_s=remaining(address.valid_s, elapsed_s),
            preferred_s=remaining(address.preferred_s, elapsed_s),
        )
        if _ages(address)
        else address
        for address in addresses
        if address.valid_s is None or address.valid_s > elapsed_s
    )


def _ages(address: Address) -> bool:
    return address.valid_s is not None or address.preferred_s is not None
