"""Policy rules: which of them are kept with a netdev, and which are missing when it returns.

The kernel keeps them while the netdev is away, but the network manager that has set them removes
them, and sets them again once it has seen the netdev come back.  So they are no aspect of the
netdev: they are looked at last, and put back only if nobody else does so.
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from typing import Final

import attrs

from amdcni.core.host import Address, IpNetwork, Netdev, Values
from amdcni.core.unsaved import Kind, Unsaved

NOUN: Final = "policy rule"
LOOKUP: Final = 1
GOTO: Final = 2
IIF_DETACHED: Final = 0x08
OIF_DETACHED: Final = 0x10


@attrs.frozen
class Rule:
    """One policy rule, with every attribute that netlink reports and accepts (RTM_GETRULE).

    `family` is 4 or 6.  Numbers are those of include/uapi/linux/fib_rules.h: `action` is FR_ACT_*.
    `source` and `destination` are the prefixes of `from` and `to`, `iif` and `oif` the names of
    netdevs as they were given.  `values` are the other attributes by their names in lower case
    without `FRA_`; a range is two numbers with a hyphen between them.

    `strange` are the numbers of attributes that this version does not know.  Such a rule cannot be
    set again: without them it might mean more than it did.  `detached` are the flags
    FIB_RULE_IIF_DETACHED and FIB_RULE_OIF_DETACHED: there is no such netdev now, or none any more.
    """

    family: int
    priority: int = 0
    action: int = LOOKUP
    table: int = 0
    inverted: bool = False
    source: IpNetwork | None = None
    destination: IpNetwork | None = None
    tos: int = 0
    iif: str | None = None
    oif: str | None = None
    values: Values = attrs.field(factory=dict)
    strange: tuple[int, ...] = ()
    detached: int = attrs.field(default=0, eq=False)

    def describe(self) -> str:
        """The rule in the words of `ip rule`, as far as that has words."""
        return f"{self.priority}: {' '.join(self._words())}"

    def _words(self) -> Iterator[str]:
        if self.inverted:
            yield "not"
        yield f"from {self.source or 'all'}"
        for word in ("destination", "tos", "iif", "oif"):
            if value := getattr(self, word):
                yield f"{_SPELLED.get(word, word)} {value}"
        yield from (f"{_SPELLED.get(name, name)} {value}" for name, value in self.values.items())
        if self.action == LOOKUP:
            yield f"lookup {self.table}"
        elif self.action != GOTO:
            yield _ACTIONS.get(self.action, f"action {self.action}")


_SPELLED: Final = {"destination": "to", "flow": "realms", "ip_proto": "ipproto"}
_ACTIONS: Final = {6: "blackhole", 7: "unreachable", 8: "prohibit"}


@attrs.frozen(slots=False, kw_only=True)
class Rules:
    """The policy rules that are kept with a netdev."""

    rules: tuple[Rule, ...] = ()


def keep(netdev: Netdev, seen: Iterable[Rule]) -> Rules:
    """Of the host's rules, those about the netdev that can be set again, each once.

    The kernel accepts the same rule twice, but the second has no effect.
    """
    kept: list[Rule] = []
    for rule in _about(netdev, seen):
        if not rule.strange and rule not in kept:
            kept.append(rule)
    return Rules(rules=tuple(kept))


def unsaved(netdev: Netdev, seen: Iterable[Rule]) -> Iterator[Unsaved]:
    """The rules about the netdev that have attributes which this version does not know."""
    for rule in _about(netdev, seen):
        if rule.strange:
            numbers = ", ".join(map(str, rule.strange))
            yield Unsaved(Kind.RULE, f"{rule.describe()} (with the attribute {numbers})")


def _about(netdev: Netdev, seen: Iterable[Rule]) -> Iterator[Rule]:
    """The rules that name the netdev, or in `from` or `to` one of its addresses or networks."""
    names = {netdev.ifname, *netdev.altnames}
    prefixes = {prefix for address in netdev.addresses for prefix in _prefixes_of(address)}
    for rule in seen:
        named = not names.isdisjoint((rule.iif, rule.oif))
        if named or not prefixes.isdisjoint((rule.source, rule.destination)):
            yield rule


def _prefixes_of(address: Address) -> Iterator[IpNetwork]:
    """The address by itself, and the network that it connects.

    Every netdev is in the network of the IPv6 link-local addresses, which so says nothing.
    """
    own = address.interface
    yield ipaddress.ip_network(own.ip)
    if address.peer is not None:
        yield ipaddress.ip_network(address.peer)
        yield ipaddress.ip_network((address.peer, own.network.prefixlen), strict=False)
    elif not own.is_link_local:
        yield own.network


@attrs.frozen
class AddRule:
    """A rule that is missing."""

    rule: Rule
    is_missing = True

    def describe(self) -> str:
        """The difference."""
        return f"policy rule {self.rule.describe()} is missing"


@attrs.frozen
class RenewRule:
    """A rule that is there as often as `blind` and does not see the netdev.

    The kernel has to make another one, unless there is `another` already: a call may have been
    killed before it removed the older ones.
    """

    rule: Rule
    blind: int = 1
    another: bool = False
    is_missing = False

    def describe(self) -> str:
        """The difference."""
        return f"policy rule {self.rule.describe()} does not see the netdev"


RuleChange = AddRule | RenewRule


def due(kept: Rules, names: Collection[str], seen: Collection[Rule]) -> tuple[RuleChange, ...]:
    """What was kept and is not there as it was.

    `names` are all names of the netdev.  A rule that names it by an alternative name stays
    detached when the netdev returns (net/core/fib_rules.c, attach_rules); only a new one finds the
    netdev.
    """
    changes: list[RuleChange] = []
    for rule in kept.rules:
        copies = [each for each in seen if each == rule]
        blind = [each for each in copies if _is_blind(each, rule, names)]
        if not copies:
            changes.append(AddRule(rule))
        elif blind:
            changes.append(RenewRule(rule, len(blind), another=len(blind) < len(copies)))
    return tuple(changes)


def _is_blind(now: Rule, kept: Rule, names: Collection[str]) -> bool:
    """Whether a rule saw the netdev when it was kept, and does not see it now."""
    lost = now.detached & ~kept.detached
    return bool(
        (lost & IIF_DETACHED and kept.iif in names) or (lost & OIF_DETACHED and kept.oif in names)
    )


def lines(kept: Rules) -> Iterator[str]:
    """What was kept, one line each."""
    yield from (f"policy rule {rule.describe()}" for rule in kept.rules)
