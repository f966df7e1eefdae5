"""What `ethtool` sets: rings, channels, offloads, link modes and the like.

It stays with the netdev wherever that goes, as whoever changed it last has left it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Netdev, Values

NOUN: Final = None

UNKNOWN_SPEED: Final = 0xFFFFFFFF
UNKNOWN_DUPLEX: Final = 0xFF


@attrs.frozen(slots=False, kw_only=True)
class Ethtool:
    """Settings by group and name, such as `rings/rx`; a set of bits is a hexadecimal number.

    What the driver does not have is absent.
    """

    ethtool: Values = attrs.field(factory=dict)


@attrs.frozen(slots=False, kw_only=True)
class SeenEthtool:
    """The settings, and the names of the bits in a set that is not as it was kept."""

    ethtool: Values = attrs.field(factory=dict)
    ethtool_bits: Mapping[str, Mapping[int, str]] = attrs.field(factory=dict)


@attrs.frozen
class Setting:
    """A setting that `is_now` another one; None if the driver does not show it.

    It is a value, or the `bit` of the set `name` that is `called` so.
    """

    name: str
    value: int | str
    is_now: int | str | None
    bit: int | None = None
    called: str = ""


@attrs.frozen
class SetEthtool:
    """Settings of one group, which the driver gets in one request.

    It is `optional` if the driver itself may have changed what it shows.
    """

    group: str
    settings: tuple[Setting, ...]
    optional: bool = False
    stage = Stage.DOWN

    def describe(self) -> str:
        """The difference."""
        differing = (each for each in self.settings if each.value != each.is_now)
        return ", ".join(_difference(self.group, each) for each in differing)

    def wanted(self) -> str:
        """What has to be set."""
        return ", ".join(
            f"{_called(self.group, each)} {_was(self.group, each)}" for each in self.settings
        )

    def parts(self) -> tuple["SetEthtool", ...]:
        """The same, setting by setting; nothing if they hold only together."""
        if self.group == "link" or len(self.settings) == 1:
            return ()
        return tuple(attrs.evolve(self, settings=(each,)) for each in self.settings)


GROUPS: Final[Mapping[str, str]] = {
    "private-flags": "private flag {}",
    "channels": "number of {} channels",
    "rings": "{} ring",
    "coalescing": "coalescing {}",
    "features": "feature {}",
    "link": "link {}",
    "port": "port {}",
    "pause": "pause {}",
    "fec": "FEC {}",
    "eee": "EEE {}",
    "wake-on-lan": "wake-on-LAN {}",
    "messages": "message level {}",
    "rss": "RSS {}",
    "hash-fields": "hash of {}",
    "tunables": "tunable {}",
}
"""What a setting of each group is called, in the order of setting.

Private flags may change what else there is.  Channels come before what the driver makes anew for
each of them.
"""

_SWITCHES: Final = frozenset(
    {
        *("link/autoneg", "pause/autoneg", "pause/rx", "pause/tx", "fec/auto"),
        *("eee/enabled", "eee/tx-lpi", "rings/tx-push", "rings/rx-push"),
        *("coalescing/adaptive-rx", "coalescing/adaptive-tx"),
        *("coalescing/cqe-mode-rx", "coalescing/cqe-mode-tx"),
    }
)
_RINGS: Final = ("rx", "rx-mini", "rx-jumbo", "tx")
_FORCED: Final = ("speed", "duplex", "lanes")


def keep(netdev: Netdev, seen: SeenEthtool, *, protocols_reported: bool) -> Ethtool:
    """All of them, except for what is not a setting but what two ends of a link have agreed on.

    A netdev without a link may not know its speed; one with a link, such as a virtual one, that
    does not know it either has that as a setting.
    """
    return Ethtool(
        ethtool={
            name: value
            for name, value in seen.ethtool.items()
            if name not in _agreed(seen.ethtool)
            and (netdev.carrier or not _is_unknown(name, value))
        }
    )


def _agreed(settings: Values) -> tuple[str, ...]:
    """What autonegotiation makes of the settings, or what it leaves unused if it is off."""
    agreed = [f"link/{name}" for name in _FORCED] if settings.get("link/autoneg") else []
    if not settings.get("link/autoneg"):
        agreed.append("link/advertised")
    if settings.get("pause/autoneg"):
        agreed += ["pause/rx", "pause/tx"]
    return tuple(agreed)


def _is_unknown(name: str, value: int | str | None) -> bool:
    return (name, value) in (("link/speed", UNKNOWN_SPEED), ("link/duplex", UNKNOWN_DUPLEX))


def due(kept: Ethtool, netdev: Netdev, seen: SeenEthtool, around: Around) -> list[SetEthtool]:
    """The settings that are not as they were, group by group."""
    if kept.ethtool == seen.ethtool:
        return []
    had, has = _by_group(kept.ethtool), _by_group(seen.ethtool)
    changes: list[SetEthtool] = []
    for group in filter(had.__contains__, GROUPS):
        here = _Group(group, had[group], has.get(group, {}), netdev, seen.ethtool_bits)
        match group:
            case "features":
                found = here.all_of(here.features())
            case "link":
                found = here.link()
            case "coalescing":
                found = here.coalescing()
            case _:
                found = here.all_of(here.differences())
        changes += found
    return changes


def _by_group(settings: Values) -> dict[str, dict[str, int | str]]:
    groups: dict[str, dict[str, int | str]] = {}
    for path, value in settings.items():
        group, _, name = path.partition("/")
        groups.setdefault(group, {})[name] = value
    return groups


@attrs.frozen
class _Group:
    """The settings of a group, as they were and as they are."""

    name: str
    had: Values
    has: Values
    netdev: Netdev
    bit_names: Mapping[str, Mapping[int, str]]

    def all_of(self, settings: Iterable[Setting], *, optional: bool = False) -> list[SetEthtool]:
        """The change that makes all of these; none if there are none."""
        found = tuple(settings)
        return [SetEthtool(self.name, found, optional)] if found else []

    def differences(self) -> Iterator[Setting]:
        """The settings that differ.

        Some drivers show nothing while the netdev is down, so what is not shown counts only if it
        is up.  A set that is not shown cannot be compared.
        """
        for name, value in self.had.items():
            is_now = self.has.get(name)
            if value == is_now:
                continue
            if is_now is None:
                if self.netdev.up and not is_set(value):
                    yield Setting(name, value, None)
            elif is_set(value):
                was, now = _number(value), _number(is_now)
                yield from self._bits(name, was & ~now, 1)
                yield from self._bits(name, now & ~was, 0)
            else:
                yield Setting(name, value, is_now)

    def features(self) -> Iterator[Setting]:
        """The features that are on and were off, or the other way round.

        What cannot be changed any more is left alone.
        """
        on, off = _number(self.has.get("on")), _number(self.has.get("off"))
        yield from self._bits("on", _number(self.had.get("on")) & off, 1)
        yield from self._bits("on", _number(self.had.get("off")) & on, 0)

    def _bits(self, name: str, bits: int, value: int) -> Iterator[Setting]:
        called = self.bit_names.get(f"{self.name}/{name}", {})
        for bit in range(bits.bit_length()):
            if bits >> bit & 1:
                yield Setting(name, value, 1 - value, bit, called.get(bit, str(bit)))

    def coalescing(self) -> list[SetEthtool]:
        """With adaptive coalescing, the driver may choose the rest of that direction by itself."""
        sure: list[Setting] = []
        doubtful: list[Setting] = []
        for each in self.differences():
            adaptive = self.had.get(f"adaptive-{each.name[:2]}")
            (doubtful if adaptive else sure).append(each)
        return [*self.all_of(sure), *self.all_of(doubtful, optional=True)]

    def link(self) -> list[SetEthtool]:
        """A speed that was forced is set together with all that forces it.

        Without a link, a driver may not show it: then it is set while that disturbs nobody.
        """
        forced = [
            Setting(name, self.had[name], self.has.get(name))
            for name in ("autoneg", "speed", "duplex")
            if self.had.get("autoneg") == 0 and name in self.had
        ]
        differing = list(self.differences())
        shown = [
            each
            for each in differing
            if self.netdev.carrier or not _is_unknown(f"link/{each.name}", each.is_now)
        ]
        if shown:
            names = [each.name for each in forced]
            return self.all_of([*forced, *(each for each in shown if each.name not in names)])
        return [] if self.netdev.up or not differing else self.all_of(forced, optional=True)


def is_set(value: int | str | None) -> bool:
    """Whether the value of a setting is a set of bits."""
    return isinstance(value, str) and value.startswith("0x")


def _number(bits: int | str | None) -> int:
    return int(str(bits), 16) if is_set(bits) else 0


_HASHED: Final = {1: "m", 2: "v", 3: "t", 4: "s", 5: "d", 6: "f", 7: "n", 31: "r"}
"""The letters that `ethtool` has for the fields of a packet."""

_FUNCTIONS: Final = {1: "toeplitz", 2: "xor", 4: "crc32"}


def _difference(group: str, setting: Setting) -> str:
    if group == "rss" and isinstance(setting.value, str) and setting.is_now is not None:
        return f"{_called(group, setting)} has changed"
    if setting.bit is None:
        now = in_words(f"{group}/{setting.name}", setting.is_now)
    else:
        now = "on" if setting.is_now else "off"
    return f"{_called(group, setting)} is {now}, was {_was(group, setting)}"


def _was(group: str, setting: Setting) -> str:
    if setting.bit is not None:
        return "on" if setting.value else "off"
    return in_words(f"{group}/{setting.name}", setting.value)


def _called(group: str, setting: Setting) -> str:
    name = setting.called or setting.name
    return name if group == "rings" and name not in _RINGS else GROUPS[group].format(name)


def in_words(path: str, value: int | str | None) -> str:
    """The value of a setting as people read it; of a set, how many bits are on."""
    if value is None:
        return "not known"
    if path in _SWITCHES or path.startswith("private-flags/"):
        return "on" if value else "off"
    if _is_unknown(path, value):
        return "unknown"
    if path == "link/duplex":
        return "full" if value else "half"
    if path.startswith("hash-fields/"):
        return "".join(letter for bit, letter in _HASHED.items() if int(value) >> bit & 1) or "none"
    if path == "rss/function":
        return _FUNCTIONS.get(int(value), str(value))
    if path == "rss/table":
        return f"of {len(str(value).split())} entries"
    if path == "rss/key":
        return f"of {len(str(value)) // 2} octets"
    return f"{_number(value).bit_count()} on" if is_set(value) else str(value)


def lines(kept: Ethtool) -> Iterator[str]:
    """One for each group."""
    for group, settings in _by_group(kept.ethtool).items():
        words = [f"{name} {in_words(f'{group}/{name}', value)}" for name, value in settings.items()]
        if group == "features":
            words = [f"{_number(bits).bit_count()} {name}" for name, bits in settings.items()]
        yield f"{group.replace('-', ' ')}: {', '.join(words)}"
