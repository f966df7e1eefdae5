"""Reads and makes nexthop objects and groups, for a netdev that has any."""

import errno
from collections.abc import Iterable

import attrs

from amdcni.core.aspects.nexthops import (
    Nexthops,
    SetNexthop,
    SetNexthopGroup,
    describe,
    ids_in,
)
from amdcni.core.capture import Captured
from amdcni.core.host import Hop, Netdev, NexthopGroup
from amdcni.core.names import IfName
from amdcni.effects.aspects.link import ifnames_of
from amdcni.effects.messages import nexthops
from amdcni.effects.rtnetlink import Reply, RequestRefused, Rtnetlink


def read_those_of(
    kernel: Rtnetlink, netdev: Netdev, own: list[Reply], kept: Captured | None
) -> tuple[Nexthops, tuple[str, ...]]:
    """The objects through the netdev with their groups, or what now has the IDs that are kept.

    Also, in words, what of them no record can hold.  A node may have thousands of objects, so of
    those through other netdevs only members are read.
    """
    if kept is None:
        groups = _groups_with(kernel, own)
    else:
        ids = {each.id for each in kept.nexthops} | {each.id for each in kept.nexthop_groups}
        own, groups = _parted(_each(kernel, ids))
    members = {number for group in groups for number in ids_in(group.members)}
    if kept is not None:
        members |= {each.id for each in kept.other_nexthops}
    there = {nexthops.id_of(reply) for reply in own}
    others, _ = _parted(_each(kernel, members - there))
    ifindexes = filter(None, map(nexthops.ifindex_of, (*own, *others)))
    ifnames = ifnames_of(kernel, ifindexes, {netdev.ifindex: netdev.ifname})
    found = Nexthops(
        nexthops=tuple(nexthops.nexthop_of(reply, ifnames) for reply in own),
        nexthop_groups=tuple(groups),
        other_nexthops=tuple(nexthops.nexthop_of(reply, ifnames) for reply in others),
    )
    return found, tuple(
        f"an encapsulation of the nexthop object {nexthops.id_of(reply)}"
        for reply in own
        if nexthops.loses_encap(reply)
    )


def _groups_with(kernel: Rtnetlink, own: Iterable[Reply]) -> list[NexthopGroup]:
    ids = {nexthops.id_of(reply) for reply in own}
    groups = filter(None, map(nexthops.group_of, kernel.dump(nexthops.query_groups())))
    return [group for group in groups if ids & ids_in(group.members)]


def _each(kernel: Rtnetlink, ids: Iterable[int]) -> list[Reply]:
    """What has these IDs."""
    found = []
    for number in sorted(ids):
        try:
            found.append(kernel.get(nexthops.query_by_id(number)))
        except RequestRefused as failure:
            if failure.code != errno.ENOENT:
                raise
    return found


def _parted(replies: Iterable[Reply]) -> tuple[list[Reply], list[NexthopGroup]]:
    """The objects, and the groups."""
    objects, groups = [], []
    for reply in replies:
        group = nexthops.group_of(reply)
        if group is None:
            objects.append(reply)
        else:
            groups.append(group)
    return objects, groups


def hops_of(kernel: Rtnetlink, number: int, known: dict[int, IfName]) -> tuple[Hop, ...]:
    """The hops of a nexthop object or group, with the weights of its members."""
    objects, groups = _parted(_each(kernel, [number]))
    weights = {member.id: member.weight for group in groups for member in group.members}
    objects += _parted(_each(kernel, weights))[0]
    ifnames = ifnames_of(kernel, filter(None, map(nexthops.ifindex_of, objects)), known)
    found = (nexthops.nexthop_of(reply, ifnames) for reply in objects)
    return tuple(
        attrs.evolve(each.hop, weight=weights.get(each.id, 1))
        for each in found
        if each.hop is not None
    )


def make(kernel: Rtnetlink, netdev: Netdev, change: SetNexthop | SetNexthopGroup) -> None:
    """Make it."""
    if isinstance(change, SetNexthop):
        what = f"make the nexthop object {change.nexthop.id} of {netdev.ifname}"
        kernel.do(what, nexthops.put(change.nexthop), done_if=errno.EEXIST)
    else:
        kernel.do(f"make the {describe(change.group)}", nexthops.put_group(change.group))
