"""Brings a netdev home: out of the pod, under its name, with everything that was captured."""

import time
from collections.abc import Iterable, Iterator
from typing import Final, assert_never

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.aspects.nexthops import usable
from amdcni.core.aspects.sysctls import SetSysctl, for_the_while
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.capture import (
    Captured,
    Change,
    Details,
    aspect_of,
    due,
    is_missed,
    is_required,
)
from amdcni.core.errors import KernelRefused, NetdevLost, RestoreIncomplete
from amdcni.core.host import AddressFlag, Interrupts, Netdev, Netns, SysfsDevice, names_of
from amdcni.core.identity import find_home, find_in_pod, lost, needs_mark, without_mark
from amdcni.core.names import free_name
from amdcni.core.numbering import free_ifindex, ifindex_to_give
from amdcni.core.steps.execution import Home, Outcome
from amdcni.core.steps.homecoming import (
    BringHome,
    HomecomingStep,
    RestoreConfiguration,
    RestoreInterrupts,
    VerifyHome,
)
from amdcni.effects.marks import mark_in_pod
from amdcni.effects.numbering import give_ifindex
from amdcni.effects.shared_routes import alone_with_shared_routes, awaited, shares_routes
from amdcni.ports import Machine, Namespace

_SETTLE_POLL_S: Final = 0.01
_SETTLE_ATTEMPTS: Final = 1000
_NAMING_ATTEMPTS: Final = 5
_SETTLE_AGAIN_ATTEMPTS: Final = 20
_PAUSES_S: Final = (0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""A network manager needs up to a second for a netdev that it has just seen."""


def perform(step: HomecomingStep, so_far: Outcome, node: Machine) -> Outcome:
    """Make what `step` says true; `so_far` with what that found out."""
    match step:
        case BringHome(record, captured):
            return attrs.evolve(so_far, home=_bring_home(node, record, captured))
        case RestoreConfiguration(record, captured):
            home = so_far.home or _require_home(node, record)
            _, seen = _put_back(node, record, captured, home)
            return so_far if so_far.home is None else attrs.evolve(so_far, home=seen)
        case RestoreInterrupts(record, kept):
            _restore_interrupts(node, record, kept)
        case VerifyHome(record, captured):
            return attrs.evolve(so_far, home=_verify(node, record, captured, so_far))
        case _:
            assert_never(step)
    return so_far


def _bring_home(node: Machine, record: Attachment, captured: Captured) -> Home:
    """Bring the netdev to the host, under its own name or, if a stranger has that, a free one.

    Raises: NetdevLost, KernelRefused.
    """
    sight = _look(node, record)
    netdev = sight.netdev or _fetch(node, record, captured, sight)
    if netdev is None:
        raise lost(record)
    home = _give_ifindex(node, record, captured, Home(netdev, sight.others(netdev)))
    if node.await_udev(home.netdev.ifindex):
        home = _seen_at(node, record, home.netdev.ifindex)
    home = _give_name(node, record, captured, home)
    if home.netdev.ifname != captured.ifname:
        now = home.netdev.ifname
        node.report("name-taken", **record.facts, was=captured.ifname, now=now)
    return home


@attrs.frozen
class _Sight:
    """What is seen when a netdev is looked for on the host; `netdev` is None if it is not there."""

    host: Netns
    pod: Netns | None
    device: SysfsDevice | None
    netdev: Netdev | None

    def others(self, netdev: Netdev) -> tuple[Netdev, ...]:
        return tuple(each for each in self.host.netdevs if each.ifindex != netdev.ifindex)


def _look(node: Machine, record: Attachment) -> _Sight:
    host, pod = node.host(), node.find_pod(record.netns)
    device = node.find_device(record.key.bus_device)
    return _Sight(host, pod, device, find_home(record, host.netdevs, device, pod))


def _give_ifindex(node: Machine, record: Attachment, captured: Captured, home: Home) -> Home:
    """Give the netdev the ifindex that it had, if that is free and nobody uses the netdev yet."""
    wanted = ifindex_to_give(captured, home.netdev, home.others)
    if wanted is not None and node.keeps_ifindexes():
        give_ifindex(node, record, captured, home, wanted)
        home = _require_home(node, record)
    if home.netdev.ifindex != captured.ifindex:
        now = home.netdev.ifindex
        node.report("renumbered", **record.facts, was=captured.ifindex, now=now)
    return home


def _give_name(node: Machine, record: Attachment, captured: Captured, home: Home) -> Home:
    """Give the netdev its own name or, if a stranger has that, a free one.

    Somebody may take a name that was free, so after a refusal the host is read again.
    """
    for attempts_left in reversed(range(_NAMING_ATTEMPTS)):
        netdev = home.netdev
        wanted = free_name(captured.ifname, names_of(home.others))
        if netdev.ifname == wanted:
            return home
        try:
            if wanted in netdev.altnames:
                node.own.drop_altname(netdev, wanted)
            node.own.change(netdev, up=False)
            node.own.rename(netdev, wanted)
        except KernelRefused:
            if not attempts_left:
                raise
        home = _seen_at(node, record, netdev.ifindex)
    return home


def _fetch(node: Machine, record: Attachment, captured: Captured, sight: _Sight) -> Netdev | None:
    """Move the netdev out of its pod, if it is there, without a clash with any name on the host.

    Returns the netdev as it then is on the host; None if it is not there.
    """
    host, pod = sight.host, sight.pod
    netdev = find_in_pod(record, pod)
    if pod is None or netdev is None:
        # The pod may have ended after the host was looked at.
        return _look(node, record).netdev
    for other in host.netdevs:
        if record.mark in other.altnames:
            # It cannot be ours, and would keep ours from being recognized.
            node.own.drop_altname(other, record.mark)
    taken = names_of(host.netdevs) - {record.mark}
    wanted = free_name(captured.ifname, taken)
    with node.enter(pod.path) as source:
        if source is None or not source.id.is_same(pod.id):
            return _look(node, record).netdev
        mark_in_pod(source, netdev, record)
        for altname in (taken | {wanted}).intersection(netdev.altnames):
            source.drop_altname(netdev, altname)
        source.move(netdev, node.own, wanted, free_ifindex(captured, host.netdevs))
    moved = node.own.find_netdev(record.mark)
    if moved is not None and find_home(record, [moved], sight.device, None) == moved:
        return moved
    return _look(node, record).netdev


def _restore_interrupts(node: Machine, record: Attachment, kept: Interrupts) -> None:
    """Let the device's interrupts go to the same CPUs as before; report what is refused."""
    from amdcni.core.interrupts import due

    seen = node.interrupts_of(record.key.bus_device, kept)
    for change in () if seen is None else due(kept, seen):
        try:
            node.set_interrupt(change.number, change.cpus)
        except KernelRefused as failure:
            facts = {"aspect": "interrupts", "what": change.describe(), "reason": failure.message}
            node.report("not-restored", **record.facts, **facts)


def _put_back(
    node: Machine,
    record: Attachment,
    captured: Captured,
    home: Home,
    settle_attempts: int = _SETTLE_ATTEMPTS,
) -> tuple[list[str], Home]:
    """Put everything back in the order in which the kernel accepts it; refusals do not stop it.

    Returns what the kernel refused, and what was seen last.  What is already there is left alone.
    No duplicates are looked for of addresses that this NIC has just held: the kernel accepts no
    route from an address that it is still checking.  If nothing is missing before that, sysctls are
    left alone: a NIC that is whole is not changed for a moment.
    """
    host, netdev = node.own, home.netdev
    around = _around(node, record, captured, home)
    early = due(captured, netdev, host.details(netdev, captured, early=True), around, early=True)
    if early:
        # After the MTU: below 1280 bytes there are no sysctls of IPv6.
        place = sum(each.stage is Stage.DOWN and not isinstance(each, SetSysctl) for each in early)
        early[place:place] = for_the_while(captured, netdev)
    host.apply(netdev, early)
    settled = _settled(host, record, captured, netdev.ifindex, settle_attempts)
    home = attrs.evolve(home, netdev=settled)
    with alone_with_shared_routes(node, captured):
        if shares_routes(captured):
            # Another netdev may have returned meanwhile without seeing ours.
            home = _seen_at(node, record, netdev.ifindex)
        return _put_last(node, record, captured, home)


def _put_last(
    node: Machine, record: Attachment, captured: Captured, home: Home
) -> tuple[list[str], Home]:
    """Set everything that is still missing, also what was refused before; see `_put_back`."""
    host, around = node.own, _around(node, record, captured, home)
    details = host.details(home.netdev, captured)
    late = due(captured, home.netdev, details, around)
    if not late:
        return [], attrs.evolve(home, whole=details)
    refused = host.apply(home.netdev, filter(is_required, late))
    host.apply(home.netdev, (each for each in late if not is_required(each)))
    return refused, attrs.evolve(home, whole=None)


def _seen_at(node: Machine, record: Attachment, ifindex: int) -> Home:
    """The netdev of that number on the host, and the others there, read now."""
    netdevs = node.own.netdevs()
    netdev = next((each for each in netdevs if each.ifindex == ifindex), None)
    return Home(_require(netdev, record), tuple(each for each in netdevs if each is not netdev))


def _settled(
    host: Namespace, record: Attachment, captured: Captured, ifindex: int, attempts: int
) -> Netdev:
    """The netdev on the host, once nothing is refused because it has only just gone up.

    The kernel accepts no route from an address that is tentative, and no nexthop object through a
    netdev without a link.
    """
    sources = {route.source for route in captured.routes if route.family == 6}
    for _ in range(attempts):
        netdev = _require(host.find_by_index(ifindex), record)
        tentative = {
            address.interface.ip
            for address in netdev.addresses
            if address.flags & AddressFlag.TENTATIVE
        }
        if not tentative & sources and (netdev.carrier or not captured.nexthops):
            break
        time.sleep(_SETTLE_POLL_S)
    return netdev


def _verify(node: Machine, record: Attachment, captured: Captured, so_far: Outcome) -> Home:
    """Raise RestoreIncomplete, listing what is not as it was, unless the host has everything.

    Returns what was seen of the netdev, without the mark if that has been removed.

    Everything is read again, unless nothing was missing when it was read last and nothing is shared
    with others, who might have changed it since.
    """
    home = so_far.home or _require_home(node, record)
    if home.whole is None or shares_routes(captured):
        home = _seen_whole(node, record, captured, home.netdev.ifindex)
    if captured.nexthops and home.whole is not None:
        _report_taken(node, record, captured, home.netdev, home.whole)
    stored = so_far.saved or node.find_record(record.key) or record
    return _drop_mark(node, stored, home)


def _seen_whole(node: Machine, record: Attachment, captured: Captured, ifindex: int) -> Home:
    """The netdev of that number on the host, with everything that is required.

    Others may be at work on it, such as a network manager that has just seen it, and with a netdev
    that leaves, the kernel removes the whole of a route that both share.  So what is missing is set
    again, after growing pauses.  What is not required is tried once more, and reported if that is
    in vain.

    Raises: RestoreIncomplete.
    """
    seen, missed = _compared(node, record, captured, ifindex)
    refused: list[str] = []
    for pause_s in _pauses_s(captured):
        if not any(map(is_required, missed)):
            break
        node.pause(pause_s)
        home = _seen_at(node, record, ifindex)
        refused, _ = _put_back(node, record, captured, home, _SETTLE_AGAIN_ATTEMPTS)
        seen, missed = _compared(node, record, captured, ifindex)
    lacking = tuple(filter(is_required, missed))
    if lacking:
        for aspect in sorted(set(map(aspect_of, lacking))):
            node.report("not-restored", **record.facts, aspect=aspect)
        found = (f"{seen.netdev.ifname}: {change.describe()}" for change in lacking)
        words = "; ".join([*found, *refused])
        raise RestoreIncomplete(f"{record.key} is not yet as it was on the host: {words}")
    if missed:
        _try_again(node, record, captured, seen, missed)
    return seen


def _pauses_s(captured: Captured) -> Iterator[float]:
    """The pauses before what is missing is set again; each netdev that shares a route may leave."""
    hops = [hop for route in captured.routes for hop in route.hops]
    hops += [each.hop for each in captured.other_nexthops if each.hop is not None]
    sharing = {hop.ifname for hop in hops}
    yield from _PAUSES_S
    yield from [0] * (len(sharing) - len(_PAUSES_S))


def _compared(
    node: Machine, record: Attachment, captured: Captured, ifindex: int
) -> tuple[Home, tuple[Change, ...]]:
    """The netdev of that number on the host, read now, and what it lacks."""
    with alone_with_shared_routes(node, captured):
        seen = _seen_at(node, record, ifindex)
        details = node.own.details(seen.netdev, captured)
        missed = _lacking(node, record, captured, seen, details)
    return attrs.evolve(seen, whole=details), missed


def _try_again(
    node: Machine, record: Attachment, captured: Captured, home: Home, missed: Iterable[Change]
) -> None:
    """Set what the netdev can do without, now that it has everything else; report what it lacks."""
    refused = node.own.apply(home.netdev, missed)
    details = node.own.details(home.netdev, captured)
    for change in _lacking(node, record, captured, home, details):
        facts = {"aspect": aspect_of(change), "what": change.describe()}
        said = {"reason": "; ".join(refused)} if refused else {}
        node.report("not-restored", **record.facts, **facts, **said)


def _report_taken(
    node: Machine, record: Attachment, captured: Captured, netdev: Netdev, details: Details
) -> None:
    """Report it if the ID of a nexthop object or group means something else now."""
    ids = {each.id for each in captured.nexthops} | {each.id for each in captured.nexthop_groups}
    if ids - usable(captured, netdev, details):
        node.report("not-restored", **record.facts, aspect="nexthops")


def _drop_mark(node: Machine, stored: Attachment, home: Home) -> Home:
    """Remove the mark, unless the netdev could not be found without it by the `stored` record.

    The record may stay for a while, because a plugin or the disk refuses.  If the disk did not even
    take that the release has begun, the mark shows that the netdev has been brought home.
    """
    if stored.phase is Phase.ATTACHED:
        return home
    device, netdev = node.find_device(stored.key.bus_device), home.netdev
    if needs_mark(stored, netdev, home.others, device):
        return home
    node.own.drop_altname(netdev, stored.mark)
    return attrs.evolve(home, netdev=without_mark(stored, netdev))


def _lacking(
    node: Machine, record: Attachment, captured: Captured, home: Home, details: Details
) -> tuple[Change, ...]:
    """What the host lacks of everything that was captured and that somebody would miss."""
    changes = due(captured, home.netdev, details, _around(node, record, captured, home))
    return tuple(filter(is_missed, changes))


def _around(node: Machine, record: Attachment, captured: Captured, home: Home) -> Around:
    return Around(
        was=captured.ifname,
        others=home.others,
        awaited=awaited(node, record, captured, (home.netdev, *home.others)),
        elapsed_s=record.elapsed_s(node.clock().now_s),
    )


def _require_home(node: Machine, record: Attachment) -> Home:
    sight = _look(node, record)
    netdev = _require(sight.netdev, record)
    return Home(netdev, sight.others(netdev))


def _require(netdev: Netdev | None, record: Attachment) -> Netdev:
    if netdev is None:
        raise NetdevLost(f"the netdev of {record.key} is not on the host")
    return netdev
