"""The sysctls of the netdev, below /proc/sys/net, that differ from those of a new netdev."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Netdev, Values
from amdcni.core.kernel_made import is_eui64, is_kernels, remade_addresses

NOUN: Final = "sysctl"

ACCEPT_DAD: Final = "ipv6/conf/accept_dad"
ADDR_GEN_MODE: Final = "ipv6/conf/addr_gen_mode"
DISABLE_IPV6: Final = "ipv6/conf/disable_ipv6"
IPV6_MTU: Final = "ipv6/conf/mtu"
STABLE_SECRET: Final = "ipv6/conf/stable_secret"


@attrs.frozen(slots=False, kw_only=True)
class Sysctls:
    """Sysctls by names such as `ipv4/conf/rp_filter`.

    `eui64` is whether the kernel had made a link-local address from the hardware address.
    """

    sysctls: Values = attrs.field(factory=dict)
    eui64: bool = False


@attrs.frozen(slots=False, kw_only=True)
class SeenSysctls:
    """All sysctls, and the values that a new netdev of the same netns gets."""

    sysctls: Values = attrs.field(factory=dict)
    sysctl_defaults: Values = attrs.field(factory=dict)


@attrs.frozen
class SetSysctl:
    """A sysctl that `is_now` another value; None if it cannot be read."""

    name: str
    value: int | str
    is_now: int | str | None
    stage: Stage

    def describe(self) -> str:
        """The difference."""
        now = "not known" if self.is_now is None else self.is_now
        return f"{self.name} is {now}, was {self.value}"


def keep(netdev: Netdev, seen: SeenSysctls, *, protocols_reported: bool) -> Sysctls:
    """Those that a new netdev would not have.

    The IPv6 MTU follows that of the netdev unless it was set.  Those that restoring sets for a
    while are kept whatever they are, and how addresses are generated if there is a secret, which
    sets that too.
    """
    usual: Mapping[str, int | str] = {**seen.sysctl_defaults, IPV6_MTU: str(netdev.mtu)}
    made = {
        address
        for address in netdev.addresses
        if is_eui64(address, netdev.mac)
        and is_kernels(address, netdev.mac, protocols_reported=protocols_reported)
    }
    has_secret = STABLE_SECRET in seen.sysctls or STABLE_SECRET in seen.sysctl_defaults
    always = {ACCEPT_DAD}
    if has_secret or not made.issubset(
        remade_addresses(netdev, seen.sysctls, protocols_reported=protocols_reported)
    ):
        always.add(ADDR_GEN_MODE)
    return Sysctls(
        sysctls={
            name: value
            for name, value in seen.sysctls.items()
            if usual.get(name) != value or name in always
        },
        eui64=bool(made),
    )


def for_the_while(kept: Sysctls, netdev: Netdev) -> list[SetSysctl]:
    """What is set while a netdev is restored, and set back last.

    No duplicates are looked for of addresses that it has just held.  The kernel does not make its
    own link-local address when the netdev goes up: it is set among others, in their order, or made
    when the mode is set back.
    """
    values = {ACCEPT_DAD: "0"}
    if kept.eui64 and not netdev.up:
        values[ADDR_GEN_MODE] = _NONE
    return [
        SetSysctl(name, value, None, Stage.DOWN)
        for name, value in values.items()
        if name in kept.sysctls
    ]


def due(kept: Sysctls, netdev: Netdev, seen: SeenSysctls, around: Around) -> list[SetSysctl]:
    """Those that are not as they were.

    Last come the MTU, which the kernel sets again when the netdev goes up; accept_dad, so that
    addresses are set before duplicates are looked for; and how addresses are generated, if there
    was one made from the hardware address.
    """
    last = {IPV6_MTU, ACCEPT_DAD, *(_GENERATION if kept.eui64 else ())}
    changes = []
    for name in in_setting_order(kept.sysctls):
        had, has = kept.sysctls[name], seen.sysctls.get(name)
        if has != had:
            stage = Stage.LAST if name in last else Stage.DOWN
            changes.append(SetSysctl(name, had, has, stage))
    return changes


def in_setting_order(names: Iterable[str]) -> list[str]:
    """The names of sysctls in the order in which they have to be set.

    No duplicates are looked for of an address that the kernel generates while they are set.
    """
    return sorted(names, key=lambda name: (name not in _FIRST, name == ACCEPT_DAD))


_NONE: Final = "1"  # IN6_ADDR_GEN_MODE_NONE
_FIRST: Final = (DISABLE_IPV6, STABLE_SECRET)
"""The secret sets the address generation mode too."""

_GENERATION: Final = (STABLE_SECRET, ADDR_GEN_MODE)


def lines(kept: Sysctls) -> Iterator[str]:
    """One each."""
    yield from (f"sysctl {name} = {value}" for name, value in kept.sysctls.items())
