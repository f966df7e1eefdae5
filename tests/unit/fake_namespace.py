"""A network namespace of the machine in memory, as a process of ours sees and changes it."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, assert_never

import attrs

from amdcni.core.aspects.addresses import SetAddress
from amdcni.core.aspects.altnames import SetAltname
from amdcni.core.aspects.ethtool import SetEthtool
from amdcni.core.aspects.link import SetLink
from amdcni.core.aspects.multicast import SetMulticastAddress
from amdcni.core.aspects.neighbours import SetNeighbour
from amdcni.core.aspects.nexthops import SetNexthop, SetNexthopGroup
from amdcni.core.aspects.proxy_neighbours import SetProxyNeighbour
from amdcni.core.aspects.queues import SetQueues
from amdcni.core.aspects.routes import SetRoute, shared_destinations
from amdcni.core.aspects.sysctls import SetSysctl
from amdcni.core.aspects.token import SetToken
from amdcni.core.aspects.traffic_control import DropPlaceholder, SetRedirection, SetTraffic
from amdcni.core.capture import Captured, Change, Details
from amdcni.core.errors import KernelRefused, RdmaImmovable
from amdcni.core.host import (
    Address,
    IpNetwork,
    Netdev,
    NetnsId,
    Route,
    Values,
    WayOut,
    netdev_named,
)
from amdcni.core.names import IfName
from amdcni.core.rdma import RdmaDevice
from amdcni.core.rules import AddRule, RenewRule, Rule, RuleChange
from tests.unit.fake_kernel import AlreadySo, Kernel
from tests.unit.fake_netdevs import SYSCTL_DEFAULTS, Link, Refused, Space
from tests.unit.fake_rdma import CannotMove
from tests.unit.fake_shown import nexthops_with_names

if TYPE_CHECKING:
    from tests.unit.fake_node import FakeNode


class FakeNamespace:
    """A namespace of the machine's kernel, as one process of ours sees it."""

    def __init__(self, node: "FakeNode", space: Space) -> None:
        self._node = node
        self._space = space
        self.id = NetnsId(4, space.inode, space.cookie)

    def netdevs(self) -> tuple[Netdev, ...]:
        return self._kernel.netdevs(self._space)

    def ways_out(self) -> tuple[WayOut, ...]:
        return self._kernel.ways_out

    def find_netdev(self, ifname: str) -> Netdev | None:
        return netdev_named(self.netdevs(), ifname)

    def find_by_index(self, ifindex: int) -> Netdev | None:
        return next((n for n in self.netdevs() if n.ifindex == ifindex), None)

    def details(
        self, netdev: Netdev, kept: Captured | None = None, *, early: bool = False
    ) -> Details:
        link = next(link for link in self._space.links if link.ifindex == netdev.ifindex)
        whole = attrs.evolve(self._kernel.details(link), ways_out=(), rules=())
        if early:
            early_ones = ("sysctls", "sysctl_defaults", "ethtool")
            return Details(**{name: getattr(whole, name) for name in early_ones})
        others = self.routes_to(set() if kept is None else shared_destinations(kept.routes))
        left = [route for route in others if route not in whole.routes]
        if kept is not None:
            whole = attrs.evolve(
                whole,
                nexthops=tuple(nexthops_with_names(self._space)),
                nexthop_groups=tuple(self._space.nexthop_groups.values()),
                other_nexthops=(),
            )
        return attrs.evolve(whole, routes=(*whole.routes, *left))

    def routes_to(self, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
        found = self._kernel.routes(self._space)
        return tuple(route for route in found if route.destination in destinations)

    def change(self, netdev: Netdev, **attributes: object) -> None:
        self._ask(self._change, netdev, attributes)

    def _change(self, link: Link, attributes: dict[str, object]) -> None:
        for name, value in attributes.items():
            if name == "up":
                self._kernel.set_up(link, bool(value))
            else:
                plain = "" if name == "alias" and value is None else value
                self._kernel.set_attribute(link, name, plain)

    def rename(self, netdev: Netdev, ifname: IfName) -> None:
        self._ask(self._kernel.rename, netdev, ifname)

    def drop_altname(self, netdev: Netdev, altname: str) -> None:
        self._ask(self._kernel.drop_altname, netdev, altname)

    def add_altname(self, netdev: Netdev, altname: str) -> None:
        self._ask(self._kernel.add_altname, netdev, altname)

    def move(
        self,
        netdev: Netdev,
        to: "FakeNamespace",
        ifname: IfName,
        ifindex: int | None = None,
        **attributes: object,
    ) -> None:
        def act(link: Link) -> None:
            self._kernel.move(link, to._space, ifname, ifindex)
            self._change(link, attributes)

        self._ask(act, netdev)

    def rdma_devices(self) -> tuple[RdmaDevice, ...]:
        return self._kernel.rdma.devices(self._space)

    def move_rdma(self, device: RdmaDevice, to: "FakeNamespace") -> None:
        try:
            self._ask_rdma(self._kernel.rdma.move, device, to._space)
        except CannotMove as refusal:
            raise RdmaImmovable(f"{device.name}: {refusal}") from None

    def rename_rdma(self, device: RdmaDevice, name: str) -> None:
        self._ask_rdma(self._kernel.rdma.rename, device, name)

    def _ask_rdma(self, act: Callable[..., None], device: RdmaDevice, *arguments: object) -> None:
        here = self._kernel.rdma.in_space(self._space)
        hca = next(hca for hca in here if hca.index == device.index)
        try:
            act(hca, *arguments)
        except CannotMove:
            raise
        except Refused as error:
            raise KernelRefused(f"the kernel refused: {error}") from None

    def put_address(self, netdev: Netdev, address: Address) -> None:
        self._ask(self._kernel.add_address, netdev, address)

    def allow_ipv6(self, ifname: str) -> None:
        self._kernel.allow_ipv6(self._space, ifname)

    def sysctl_defaults(self, names: Iterable[str]) -> Values:
        return {name: SYSCTL_DEFAULTS[name] for name in names if name in SYSCTL_DEFAULTS}

    def put_route(self, change: SetRoute) -> None:
        parts = [part for part in (change.whole, change.least) if part is not None]
        for number, part in enumerate(parts, start=1):
            try:
                with _refusing():
                    self._kernel.add_route(self._space, part.route, replace=part.replace)
                break
            except KernelRefused:
                if number == len(parts):
                    raise

    def rules(self) -> tuple[Rule, ...]:
        self._node.alive()
        return tuple(self._space.rules)

    def set_rule(self, change: RuleChange) -> None:
        with _refusing():
            match change:
                case AddRule(rule):
                    self._kernel.add_rule(self._space, rule)
                case RenewRule(rule):
                    if not change.another:
                        self._kernel.add_rule(self._space, rule, once_more=True)
                    for _ in range(change.blind):
                        self._kernel.drop_rule(self._space, rule)
                case _:
                    assert_never(change)

    def apply(self, netdev: Netdev, changes: Iterable[Change]) -> list[str]:
        refused = []
        for change in changes:
            try:
                self._apply(netdev, change)
            except KernelRefused as failure:
                refused.append(failure.message)
        return refused

    def _apply(self, netdev: Netdev, change: Change) -> None:
        match change:
            case SetToken(wanted):
                self.change(netdev, token=wanted)
            case SetAltname(altname, present=True):
                self.add_altname(netdev, altname)
            case SetAltname(altname):
                self.drop_altname(netdev, altname)
            case SetLink(name, value):
                self.change(netdev, **{name: value})
            case SetAddress(address):
                self.put_address(netdev, address)
            case SetNeighbour(neighbour):
                self._ask(self._kernel.add_neighbour, netdev, neighbour)
            case SetProxyNeighbour(neighbour):
                self._ask(self._kernel.add_proxy_neighbour, netdev, neighbour)
            case SetMulticastAddress(wanted_group):
                self._ask(self._kernel.add_multicast, netdev, wanted_group)
            case SetNexthop(nexthop):
                with _refusing():
                    self._kernel.add_nexthop(self._space, nexthop)
            case SetNexthopGroup(group):
                with _refusing():
                    self._kernel.set_nexthop_group(self._space, group)
            case SetRoute():
                self.put_route(change)
            case SetTraffic(item, targets):
                if None in targets:
                    raise KernelRefused("a filter sends to a netdev that is not here")
                self._ask(self._kernel.set_traffic, netdev, item)
            case SetRedirection(redirection):
                self._ask(self._kernel.set_redirection, netdev, redirection)
            case DropPlaceholder():
                raise AssertionError("this kernel does not number the tables of filters")
            case SetQueues():
                for place in change.places:
                    self._ask(self._kernel.set_queue, netdev, place, change.value)
            case SetEthtool():
                self._ask(self._kernel.set_ethtool, netdev, change)
            case SetSysctl(name, value):
                self._ask(self._kernel.set_sysctl, netdev, name, value)
            case _:
                assert_never(change)

    @property
    def _kernel(self) -> Kernel:
        return self._node.alive().kernel

    def _ask(self, act: Callable[..., None], netdev: Netdev, *arguments: object) -> None:
        link = next(link for link in self._space.links if link.ifindex == netdev.ifindex)
        with _refusing():
            act(link, *arguments)


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise what the kernel refuses; what already exists, or is already gone, is not a refusal."""
    try:
        yield
    except AlreadySo:
        return
    except Refused as error:
        raise KernelRefused(f"the kernel refused: {error}") from None
