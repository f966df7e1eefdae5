"""Pods of a throwaway node: network namespaces with a path, from which NICs come home."""

import itertools
import time
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from amdcni.testing.isolation import NODE_NETNS
from amdcni.testing.namespaces import Namespace, output_of_script
from amdcni.testing.nics import Nic

_END_TIMEOUT_S = 60
_PAUSE_S = 0.005


class Host(Protocol):
    """What a pod needs of its node."""

    @property
    def nics(self) -> list[Nic]:
        """The NICs that the node was given."""

    @property
    def root(self) -> Path:
        """The node's root folder as a test sees it."""

    @property
    def entry(self) -> tuple[str, ...]:
        """The command that runs the command appended to it on the node."""

    def ip_json(self, command: str) -> list[dict[str, Any]]:
        """Run `ip -details -json` on the node and return what it printed."""

    def refresh(self) -> None:
        """Let the fake sysfs show the netdevs that are on the node now."""


@frozen(kw_only=True, eq=False)
class Pod(Namespace):
    """A pod's network namespace, made by `Node.add_pod`; `netns` is its path inside the node."""

    node: Host = field(repr=False)
    name: str
    netns: str
    duplicate_address_detection: bool

    @property
    def inode(self) -> int:
        """The inode number that distinguishes this network namespace from others at its path."""
        return (self.node.root / self.netns.lstrip("/")).stat().st_ino

    def create(self) -> None:
        """Make the network namespace, with its loopback up."""
        accept_dad = str(int(self.duplicate_address_detection))
        output_of_script(self.node.entry, "holder.make_network_namespace", self.netns, accept_dad)

    def delete(self) -> None:
        """End the network namespace as far as this node can.

        NICs in it come back to the node as PCI netdevs do and veth does not
        (`default_device_exit_net` in net/core/dev.c): down, bare, under their name in the pod or,
        if that is taken, under one that the kernel makes.  Other veths of the node that lead into
        the pod go with it, unless something holds the network namespace.
        """
        nics = {nic.peer_ifindex for nic in self.node.nics}
        links = self.ip_json("link show")
        moves = [
            str(word)
            for link in links
            if link.get("link_index") in nics
            for word in (link["ifindex"], self._prepare(link))
        ]
        cables = {
            (link.get("link_index"), link["ifindex"])
            for link in links
            if "link_netnsid" in link and link.get("link_index") not in nics
        }
        output_of_script(self.node.entry, "ending.main", self.netns, NODE_NETNS, *moves)
        # The kernel removes them later, in a worker (cleanup_net in net/core/net_namespace.c).
        deadline = time.monotonic() + _END_TIMEOUT_S
        while self._node_has(cables) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        self.node.refresh()

    def _node_has(self, cables: Set[tuple[int | None, int]]) -> bool:
        """Return whether the node has a netdev with one of these pairs of ifindex and link."""
        return bool(cables) and any(
            (link["ifindex"], link.get("link_index")) in cables and "link_netnsid" in link
            for link in self.node.ip_json("link show")
        )

    def recreate(self) -> None:
        """Delete the network namespace and make another at the same path."""
        self.delete()
        self.create()

    def _prepare(self, link: Mapping[str, Any]) -> str:
        """Set a netdev down, without altnames that the host has; return its name there, if new."""
        ifname, ifindex = link["ifname"], link["ifindex"]
        links = self.node.ip_json("link show")
        taken = {
            *(link["ifname"] for link in links),
            *itertools.chain.from_iterable(link.get("altnames", []) for link in links),
        }
        for altname in taken.intersection(link.get("altnames", [])):
            self.ip(f"link property del dev {ifname} altname {altname}")
        self.ip(f"link set {ifname} down")
        if ifname not in taken:
            return ""
        return "dev%d" if f"dev{ifindex}" in taken else f"dev{ifindex}"
