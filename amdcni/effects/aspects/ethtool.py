"""What `ethtool` sets on the netdev: by generic netlink, and by ioctl what that does not have."""

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from amdcni.core.aspects import change as changes
from amdcni.core.aspects.ethtool import SeenEthtool, SetEthtool, is_set
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev
from amdcni.core.unsaved import Kind, Unsaved, in_words
from amdcni.effects import ethtool_commands
from amdcni.effects.generic_netlink import family
from amdcni.effects.messages import ethtool
from amdcni.effects.rtnetlink import RequestRefused, Rtnetlink

_NOT_THERE: Final = frozenset(
    {errno.EOPNOTSUPP, errno.ENOENT, errno.ENODEV, errno.EINVAL, errno.EPERM}
)
"""How a driver says that it has nothing of the kind, or the kernel that this user may not know."""


@attrs.frozen(slots=False, kw_only=True)
class ReadEthtool(SeenEthtool, changes.Unsaved):
    """The settings, and what no record can hold of them, in words."""


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> ReadEthtool:
    """All that the driver has; names of bits and what is not kept only where they are needed."""
    found: dict[str, int | str] = {}
    names: dict[str, Mapping[int, str]] = {}
    unsaved: list[Unsaved] = []
    doubtful: list[str] = []
    with ethtool_commands.commands(netdev.ifname) as run:
        found.update(ethtool_commands.read(run))
        if kept is None:
            rules = ethtool_commands.read_rules(run)
            unsaved += [Unsaved(Kind.RECEIVE_RULE, str(rule)) for rule in rules]
    try:
        with family(ethtool.FAMILY) as (generic, number):
            doubtful += _read_groups(generic, number, netdev, found)
            if kept is None:
                unsaved += _contexts(generic, number, netdev, found)
            else:
                names.update(_bit_names(generic, number, netdev, _differing_sets(kept, found)))
    except KernelRefused:  # a kernel older than Linux 5.6
        pass
    return ReadEthtool(ethtool=found, ethtool_bits=names, unsaved=(*in_words(unsaved), *doubtful))


def _read_groups(
    generic: Rtnetlink, number: int, netdev: Netdev, found: dict[str, int | str]
) -> Iterator[str]:
    """Add the settings of each group to `found`; yield which groups could not be read, and why."""
    unread: dict[str, list[str]] = {}
    for group, query in ethtool.queries(number, netdev.ifindex):
        try:
            found.update(ethtool.settings_in(generic.get(query), group))
        except RequestRefused as failure:
            if failure.code not in _NOT_THERE:
                unread.setdefault(failure.said, []).append(group)
    for said, groups in unread.items():
        settings = f"settings of ethtool ({', '.join(groups)})"
        yield f"{settings}, if there are any: they cannot be read ({said})"


def _contexts(
    generic: Rtnetlink, number: int, netdev: Netdev, found: Mapping[str, object]
) -> Iterator[Unsaved]:
    """The RSS contexts besides that of every netdev; older kernels show none."""
    if "rss/table" not in found:
        return
    try:
        replies = generic.dump(ethtool.contexts_query(number, netdev.ifindex))
    except RequestRefused:
        return
    for context in filter(None, map(ethtool.context_of, replies)):
        yield Unsaved(Kind.RSS_CONTEXT, str(context))


def _differing_sets(kept: Captured, found: Mapping[str, object]) -> list[str]:
    return [
        path for path, value in kept.ethtool.items() if is_set(value) and found.get(path) != value
    ]


def _bit_names(
    generic: Rtnetlink, number: int, netdev: Netdev, paths: list[str]
) -> Iterator[tuple[str, Mapping[int, str]]]:
    for group in ethtool.groups_with_sets(paths):
        reply = generic.get(ethtool.query_in_words(number, netdev.ifindex, group))
        yield ethtool.bit_names_in(reply, group)


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetEthtool) -> None:
    """Set it: all at once or, if that is refused, as much of it as is not."""
    put = _put_command if change.group in ethtool_commands.GROUPS else _put_message
    refusals = _refused(put, netdev, change)
    if refusals and change.parts():
        refusals = [each for part in change.parts() for each in _refused(put, netdev, part)]
    if refusals:
        raise KernelRefused("; ".join(refusals))


def _refused(
    put: Callable[[Netdev, SetEthtool], None], netdev: Netdev, change: SetEthtool
) -> list[str]:
    """Make the change; what the driver refused, in words, or nothing."""
    try:
        put(netdev, change)
    except RequestRefused as failure:
        said = f"{change.wanted()} of {netdev.ifname}: {failure.said}"
        return [f"the kernel refused to set {said}"]
    return []


def _put_message(netdev: Netdev, change: SetEthtool) -> None:
    with family(ethtool.FAMILY) as (generic, number):
        generic.ask(ethtool.put(number, netdev.ifindex, change))


def _put_command(netdev: Netdev, change: SetEthtool) -> None:
    with ethtool_commands.commands(netdev.ifname) as run:
        try:
            ethtool_commands.put(run, change)
        except OSError as error:
            raise RequestRefused(error.errno or 0) from None
