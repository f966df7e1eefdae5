"""NICs of a throwaway node, and the addresses at the other end of their wires."""

import ipaddress
from pathlib import Path

from attrs import field, frozen

from amdcni.testing.namespaces import Namespace, ThrowawayError


@frozen
class Nic:
    """A netdev of the node that has a PCI function behind it and a peer that answers.

    `ifname` is the name that it was given, `net` the folder in sysfs that shows it, `addresses` and
    `peer_addresses` have prefix lengths.  `peer` is the network namespace at the other end of the
    wire, alone with it; the netdev there is called `wire` and has the number `peer_ifindex`.
    """

    bdf: str
    ifname: str
    mac: str
    addresses: tuple[str, ...]
    peer_addresses: tuple[str, ...]
    net: Path
    peer: Namespace = field(repr=False)
    peer_ifindex: int

    @property
    def peers(self) -> tuple[str, ...]:
        """The peer's addresses without prefix lengths, to ping."""
        return tuple(bare_address(words).partition("/")[0] for words in self.peer_addresses)


def bare_address(words: str) -> str:
    """Return the address with prefix length that `words`, as for `ip address add`, begin with."""
    return words.split()[0]


def peer_address_of(words: str) -> str | None:
    """Return the words for the address at the other end of the wire, or None if there is no other.

    It is the one after `peer`, or else differs in the last bit, as in the /31 of RFC 3021 and the
    /127 of RFC 6164, unless that is the network's or the broadcast address of an IPv4 network.
    """
    match words.split():
        case [address, "peer", peer, *_]:
            return f"{peer.partition('/')[0]} peer {address.partition('/')[0]}"
        case [address, *_]:
            return _neighbour_of(ipaddress.ip_interface(address))
        case _:
            raise ThrowawayError(f"not an address: {words!r}")


def _neighbour_of(interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> str | None:
    network = interface.network
    if network.num_addresses == 1:
        return None
    unusable = set()
    if network.version == 4 and network.num_addresses > 2:
        unusable = {network.network_address, network.broadcast_address}
    number = int(interface.ip)
    candidates = [type(interface.ip)(near) for near in (number ^ 1, number + 1, number - 1)]
    for candidate in candidates:
        if candidate in network and candidate not in unusable:
            return f"{candidate}/{network.prefixlen}"
    raise AssertionError(f"{network} has no second host")
