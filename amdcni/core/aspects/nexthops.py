"""The nexthop objects through the netdev, and the groups that contain one.

The kernel destroys these objects when the netdev leaves, takes them out of their groups, and
destroys a group without members.  So netdevs share a group as they share a route with several hops.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Member, Netdev, Nexthop, NexthopGroup

NOUN: Final = "nexthop object"


@attrs.frozen(slots=False, kw_only=True)
class Nexthops:
    """The nexthop objects through the netdev, and the groups that contain one of them.

    `other_nexthops` are the other members of these groups.  Nobody restores them by this: an ID may
    mean something else one day, and they tell whether it does.
    """

    nexthops: tuple[Nexthop, ...] = ()
    nexthop_groups: tuple[NexthopGroup, ...] = ()
    other_nexthops: tuple[Nexthop, ...] = ()


@attrs.frozen
class SetNexthop:
    """A nexthop object that is missing."""

    nexthop: Nexthop
    stage = Stage.NEXTHOPS

    def describe(self) -> str:
        """The difference."""
        return f"nexthop object {self.nexthop.id} is missing"


@attrs.frozen
class SetNexthopGroup:
    """A group of nexthop objects that is missing, or lacks members."""

    group: NexthopGroup
    stage = Stage.NEXTHOPS

    def describe(self) -> str:
        """The difference."""
        return f"{describe(self.group)} is missing"


def keep(netdev: Netdev, seen: Nexthops, *, protocols_reported: bool) -> Nexthops:
    """All of them."""
    return only(seen)


def only(seen: Nexthops) -> Nexthops:
    """The nexthop objects and groups of something that has more."""
    return Nexthops(
        nexthops=seen.nexthops,
        nexthop_groups=seen.nexthop_groups,
        other_nexthops=seen.other_nexthops,
    )


def due(
    kept: Nexthops, netdev: Netdev, seen: Nexthops, around: Around
) -> list[SetNexthop | SetNexthopGroup]:
    """The objects that are missing, then the groups that are missing or lack members.

    An ID that means something else now is left to whoever has taken it.
    """
    objects, groups = _possible(kept, netdev, seen)
    there = {*seen.nexthops, *seen.other_nexthops, *seen.nexthop_groups}
    return [
        *(SetNexthop(each) for each in objects if each not in there),
        *(SetNexthopGroup(each) for each in groups if each not in there),
    ]


def lines(kept: Nexthops) -> Iterator[str]:
    """One each."""
    for each in kept.nexthops:
        via = f" via {each.hop.via}" if each.hop and each.hop.via else ""
        yield f"nexthop object {each.id}{via}"
    yield from map(describe, kept.nexthop_groups)


def describe(group: NexthopGroup) -> str:
    """The group in the words of `ip nexthop`."""
    members = "/".join(f"{member.id},{member.weight}" for member in group.members)
    return f"nexthop group {group.id} of {members}"


def usable(kept: Nexthops, netdev: Netdev, seen: Nexthops) -> frozenset[int]:
    """The kept IDs that mean what they did, once everything that is due has been set."""
    objects, groups = _possible(kept, netdev, seen)
    return frozenset(each.id for each in objects) | frozenset(each.id for each in groups)


def _possible(
    kept: Nexthops, netdev: Netdev, seen: Nexthops
) -> tuple[list[Nexthop], list[NexthopGroup]]:
    """The objects through our netdev, and the groups with the members that are there, as of now."""
    objects = {each.id: each for each in (*seen.nexthops, *seen.other_nexthops)}
    groups = {each.id: each for each in seen.nexthop_groups}
    ours = []
    for each in kept.nexthops:
        own = renamed(each, netdev)
        there = objects.get(own.id, own)
        if own.id not in groups and _is_same(own, there):
            ours.append(there)
    known = {each.id for each in ours}
    known |= {each.id for each in kept.other_nexthops if _is_same(each, objects.get(each.id))}
    possible = (
        _with_known(each, groups.get(each.id), known)
        for each in kept.nexthop_groups
        if each.id not in objects
    )
    return ours, [group for group in possible if group is not None]


def renamed(nexthop: Nexthop, netdev: Netdev) -> Nexthop:
    """The object through the netdev as it is called now."""
    if nexthop.hop is None:
        return nexthop
    hop = attrs.evolve(nexthop.hop, ifname=netdev.ifname, ifindex=netdev.ifindex)
    return attrs.evolve(nexthop, hop=hop)


def _is_same(kept: Nexthop, there: Nexthop | None) -> bool:
    """Whether the ID still leads through the same netdev, perhaps to another router now."""
    if there is None or there.hop is None or kept.hop is None:
        return kept == there
    return there.hop.ifname == kept.hop.ifname


def _with_known(
    group: NexthopGroup, there: NexthopGroup | None, known: Collection[int]
) -> NexthopGroup | None:
    """The group with its `known` members; None if there is none, or if it is another group now.

    Members and weights that somebody has set meanwhile stay.
    """
    if there is None:
        members = [member for member in group.members if member.id in known]
        return attrs.evolve(group, members=tuple(members)) if members else None
    found = {member.id: member for member in there.members}
    if (there.buckets is None) != (group.buckets is None) or not found.keys() & known:
        return None
    kept = [each for each in group.members if each.id in known or each.id in found]
    return _reordered(there, [found.get(each.id, each) for each in kept])


def _reordered(group: NexthopGroup, first: list[Member]) -> NexthopGroup:
    """The group with the members `first`, and those that it has in addition."""
    ids = ids_in(first)
    others = [member for member in group.members if member.id not in ids]
    return attrs.evolve(group, members=(*first, *others))


def ids_in(members: Iterable[Member]) -> frozenset[int]:
    """The objects that are members."""
    return frozenset(member.id for member in members)


def with_shared(kept: Nexthops, shared: Nexthops) -> Nexthops:
    """What a netdev has, completed by what the record of another one says of the groups of both.

    A group has lost the members through a netdev that is lent.
    """
    wholes = {group.id: group for group in shared.nexthop_groups}
    away = {each.id for each in shared.nexthops}
    groups = tuple(
        _completed(group, wholes[group.id], away) if group.id in wholes else group
        for group in kept.nexthop_groups
    )
    needed = {number for group in groups for number in ids_in(group.members)}
    needed -= {each.id for each in (*kept.nexthops, *kept.other_nexthops)}
    others = (each for each in (*shared.nexthops, *shared.other_nexthops) if each.id in needed)
    return Nexthops(
        nexthops=kept.nexthops,
        nexthop_groups=groups,
        other_nexthops=(*kept.other_nexthops, *others),
    )


def _completed(group: NexthopGroup, whole: NexthopGroup, away: Collection[int]) -> NexthopGroup:
    """The group with those members of the `whole` that are `away`, unless it is another group."""
    found = {member.id: member for member in group.members}
    if not found.keys() & ids_in(whole.members):
        return group
    kept = [each for each in whole.members if each.id in found or each.id in away]
    return _reordered(group, [found.get(each.id, each) for each in kept])
