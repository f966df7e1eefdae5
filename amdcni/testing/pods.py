"""Pods of a throwaway node: network namespaces with a path, out of which NICs come home."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import field, frozen

from amdcni.testing.isolation import NODE_NETNS
from amdcni.testing.namespaces import Namespace

if TYPE_CHECKING:
    from amdcni.testing.node import Node


@frozen(kw_only=True, eq=False)
class Pod(Namespace):
    """A pod's network namespace, made by `Node.add_pod`; `netns` is its path inside the node."""

    node: "Node" = field(repr=False)
    name: str
    netns: str
    duplicate_address_detection: bool

    @property
    def inode(self) -> int:
        """The inode number that tells this network namespace from others that had its path."""
        return (self.node.root / self.netns.lstrip("/")).stat().st_ino

    def create(self) -> None:
        """Make the network namespace, with its loopback up."""
        self.node.ip(f"netns add {self.name}")
        self.ip("link set lo up")
        self.sysctl("net/ipv6/conf/default/accept_dad", int(self.duplicate_address_detection))

    def delete(self) -> None:
        """End the network namespace as far as this node can.

        NICs in it come back to the node as PCI netdevs do and veth does not
        (`default_device_exit_net` in net/core/dev.c): down, bare, under their name in the pod or,
        if that is taken, under one that the kernel makes.
        """
        nics = {nic.peer_ifindex for nic in self.node.nics}
        for link in self.ip_json("link show"):
            if link.get("link_index") in nics:
                self._send_home(link["ifname"], link["ifindex"], link.get("altnames", []))
        self.node.ip(f"netns delete {self.name}")
        self.node.refresh()

    def recreate(self) -> None:
        """Delete the network namespace and make another at the same path."""
        self.delete()
        self.create()

    def _send_home(self, ifname: str, ifindex: int, altnames: Sequence[str]) -> None:
        links = self.node.ip_json("link show")
        taken = {
            *(link["ifname"] for link in links),
            *itertools.chain.from_iterable(link.get("altnames", []) for link in links),
        }
        for altname in taken.intersection(altnames):
            self.ip(f"link property del dev {ifname} altname {altname}")
        fallback = "dev%d" if f"dev{ifindex}" in taken else f"dev{ifindex}"
        rename = f" name {fallback}" if ifname in taken else ""
        self.ip(f"link set {ifname} down")
        self.ip(f"link set {ifname} netns {NODE_NETNS}{rename}")
