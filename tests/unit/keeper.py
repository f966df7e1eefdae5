"""A keeper remembers how a NIC was configured on the host, and watches that this is never lost."""

import json
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import attrs

from amdcni.core.host import Nexthop, NexthopGroup
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Configuration, Link, is_link_local


@attrs.define(eq=False)
class Keeper:
    """Remembers how a NIC was configured on the host, and watches that this is never lost.

    At each moment the NIC is on the host as it was, or a record on the disk says how it was.
    Records are read as plain JSON.
    """

    machine: Machine
    link: Link
    original: Configuration = attrs.field(init=False)
    order_matters: bool = True
    """False once an address was refused: the kernel lists it in the order of acceptance."""
    names: set[str] = attrs.field(init=False)
    _known: tuple[dict[str, Any], tuple[Any, ...], bool] | None = attrs.field(
        default=None, init=False
    )

    def __attrs_post_init__(self) -> None:
        self.remember()
        self.machine.kernel.watchers.append(self.watch)

    def remember(self) -> None:
        """From now on, the NIC has to come back as it is configured now."""
        self.original = self.machine.kernel.configuration_of(self.link)
        self.names = {self.original.ifname}

    @property
    def given(self) -> set[str]:
        """The addresses that a pod gets: link-local ones are left to its own kernel."""
        addresses = [address for address, _, _ in self.original.addresses]
        return {str(each.interface) for each in addresses if not is_link_local(each)}

    @property
    def is_plugged(self) -> bool:
        """Whether the NIC is in the machine; a software netdev, whether it exists."""
        if self.link.function is None:
            return self.link in self.link.space.links
        return self.link.function in self.machine.kernel.functions

    def due(self) -> Configuration:
        """What has to be there now: lifetimes run on, wherever the NIC is."""
        return self.original.at(self.machine.kernel.now_s)

    def is_whole(self) -> bool:
        """Whether the NIC is on the host as it was; under a free name if its own was taken.

        The mark of a record that still exists does not count.
        """
        host, link = self.machine.kernel.host, self.link
        if link.space is not host or link.up != self.original.up:
            return False
        taken = self.original.ifname in host.names - link.names
        if taken and link.name == f"{self.original.ifname}_1":
            self.names.add(link.name)
        seen, due = _unmarked(self.machine.kernel.configuration_of(link)), self.due()
        if seen.ifname != due.ifname:
            # Rules that name it see nothing then, or the netdev that has its name.
            seen, due = _whatever_they_see(seen), _whatever_they_see(due)
            due = attrs.evolve(due, ifname=seen.ifname)
        if not self.order_matters:
            seen, due = _in_any_order(seen), _in_any_order(due)
        return seen == due and seen.ifname in self.names

    def is_recorded(self) -> bool:
        """Whether a record holds everything that the NIC had."""
        return any(map(self._is_known_to_be_complete, self.records()))

    def records(self) -> list[dict[str, Any]]:
        """The records of the NIC in every folder that the index names, damaged ones left out."""
        found = []
        machine = self.machine
        for disk in (machine.disk, *(machine.other_disks[name] for name in machine.disk.folders)):
            for key, data in disk.files.items():
                with suppress(ValueError):
                    if _is_key_of(key, self.link, self.names):
                        found.append(_read(data))
        return found

    def _is_known_to_be_complete(self, record: dict[str, Any]) -> bool:
        """Whether it is complete: nearly every moment asks for the same as the one before."""
        kernel = self.machine.kernel
        around = (kernel.now_s, kernel.boot, kernel.rdma.exclusive, len(self.names))
        known = self._known
        if known is None or known[0] is not record or known[1] != (self.original, around):
            known = self._known = record, (self.original, around), self._is_complete(record)
        return known[2]

    def _is_complete(self, record: dict[str, Any]) -> bool:
        captured = record.get("captured") or {}
        recorded = [entry["interface"] for entry in captured.get("addresses", [])]
        return (
            record["boot_id"] == f"boot-{self.machine.kernel.boot}"
            and captured.get("ifname") in self.names
            and captured.get("up", False) == self.original.up
            and (captured.get("alias") or "") == self.original.alias
            and {str(address.interface) for address, _, _ in self.due().addresses} <= set(recorded)
            and _count(captured, "routes") == len(self.original.routes)
            and _holds(captured, "nexthops", self.original.nexthops)
            and _holds(captured, "nexthop_groups", self.original.nexthop_groups)
            and _count(captured, "neighbours") == len(self.original.neighbours)
            and _count(captured, "multicast_addresses") == len(self.original.multicast)
            and _count(captured, "proxy_neighbours") == len(self.original.proxy_neighbours)
            and _count(captured, "rules") == self._count_of_rules_about(captured)
            and dict(self.original.sysctls).items() <= captured.get("sysctls", {}).items()
            and _traffic(captured) == len(self.original.traffic)
            and _count(captured, "redirections") == len(self.original.redirections)
            and bool(captured.get("queues")) == bool(self.original.queues)
            and self._rdma_due() <= {device["name"] for device in record.get("rdma", [])}
            and captured.get("ethtool", {}) == dict(self.original.ethtool)
        )

    def _count_of_rules_about(self, captured: dict[str, Any]) -> int:
        """How many rules named it when it was captured, maybe under another name than before."""
        names = {captured["ifname"], *captured.get("altnames", ())}
        found = (rule for rule, _ in self.original.rules)
        return sum(not names.isdisjoint((rule.iif, rule.oif)) for rule in found)

    def _rdma_due(self) -> set[str]:
        """The RDMA devices that can follow the NIC, by their names on the host."""
        names = {name for name, _ in self.original.rdma}
        return names if self.machine.kernel.rdma.exclusive else set()

    def watch(self) -> None:
        if self.is_plugged and not self.is_whole() and not self.is_recorded():
            where = self.machine.kernel.moments[-1]
            self.machine.kernel.violations.append(f"{self.original.ifname} is lost before: {where}")


@lru_cache(maxsize=64)
def _read(record: bytes) -> dict[str, Any]:
    """The record as plain JSON; every moment has a look at it, and it is nearly always the same."""
    read: dict[str, Any] = json.loads(record)
    return read


def _is_key_of(key: str, link: Link, names: set[str]) -> bool:
    bus_device, _, name = key.partition("@")
    return bus_device == (link.function or "") and (bus_device != "" or name in names)


def _traffic(captured: dict[str, Any]) -> int:
    others = ("qdiscs", "classes", "chains", "filters")
    return ("qdisc" in captured) + sum(_count(captured, what) for what in others)


def _holds(captured: dict[str, Any], what: str, objects: Iterable[Nexthop | NexthopGroup]) -> bool:
    return {each.id for each in objects} <= {each["id"] for each in captured.get(what, [])}


def _count(captured: dict[str, Any], what: str) -> int:
    return len(captured.get(what, []))


def _unmarked(configuration: Configuration) -> Configuration:
    *link, altnames = configuration.link
    assert isinstance(altnames, tuple)
    left = tuple(name for name in altnames if not name.startswith("amdcni-"))
    return configuration if left == altnames else attrs.evolve(configuration, link=(*link, left))


def _whatever_they_see(configuration: Configuration) -> Configuration:
    rules = tuple((rule, 0) for rule, _ in configuration.rules)
    return attrs.evolve(configuration, rules=rules)


def _in_any_order(configuration: Configuration) -> Configuration:
    return attrs.evolve(configuration, addresses=tuple(sorted(configuration.addresses, key=str)))
