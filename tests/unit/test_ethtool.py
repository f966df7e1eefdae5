"""Settings of ethtool: what is kept of them, what is due, and how that reads."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.aspects.ethtool import (
    GROUPS,
    Ethtool,
    SeenEthtool,
    SetEthtool,
    Setting,
    due,
    in_words,
    is_set,
    keep,
    lines,
)
from amdcni.core.capture import is_missed, is_required
from amdcni.core.host import Netdev, Values
from amdcni.core.names import IfName
from amdcni.testing import strategies as some
from tests.unit.fake_kernel import Kernel

UNKNOWN = 0xFFFFFFFF
UP = Netdev(7, IfName("ens1"), up=True, carrier=True)
WITHOUT_LINK = attrs.evolve(UP, carrier=False)
DOWN = attrs.evolve(WITHOUT_LINK, up=False)


def kept_of(settings: Values, netdev: Netdev = UP) -> Values:
    """What a record keeps of these settings."""
    return keep(netdev, SeenEthtool(ethtool=settings), protocols_reported=True).ethtool


def changes(had: Values, has: Values, netdev: Netdev = UP, **names: object) -> list[SetEthtool]:
    """What is due if a record has kept `had`, and the driver shows `has`."""
    seen = SeenEthtool(ethtool=has, **names)  # type: ignore[arg-type]
    return due(Ethtool(ethtool=had), netdev, seen, Around(netdev.ifname))


def words(had: Values, has: Values, netdev: Netdev = UP) -> list[str]:
    """The differences in words."""
    return [change.describe() for change in changes(had, has, netdev)]


def after(settings: Values, due_now: list[SetEthtool]) -> Values:
    """The settings once a driver that accepts everything has made the changes."""
    kernel = Kernel()
    link = kernel.add_link("ens1")
    link.ethtool = dict(settings)
    for change in due_now:
        kernel.set_ethtool(link, change)
    return link.ethtool


# ---- laws ----------------------------------------------------------------------------------------

netdevs = st.sampled_from([UP, WITHOUT_LINK, DOWN])


@given(some.ethtool_settings, netdevs)
def test_settings_do_not_differ_from_themselves(settings: Values, netdev: Netdev) -> None:
    assert changes(kept_of(settings, netdev), settings, netdev) == []


@given(some.ethtool_settings, netdevs)
def test_what_is_kept_was_seen(settings: Values, netdev: Netdev) -> None:
    assert kept_of(settings, netdev).items() <= settings.items()


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[str, int | str], dict[str, int | str]]:
    """Settings of one driver before and after a pod had the NIC: other values of the same."""
    one, other = draw(some.ethtool_settings), draw(some.ethtool_settings)
    names = one.keys() & other.keys()
    had = {name: one[name] for name in names}
    has = {name: other[name] for name in names}
    if "features/on" in names:
        changeable = int(str(one["features/on"]), 16) | int(str(one["features/off"]), 16)
        on = int(str(other["features/on"]), 16) & changeable
        has |= {"features/on": hex(on), "features/off": hex(changeable & ~on)}
    return had, has


@given(pairs())
def test_once_all_that_is_due_is_set_everything_is_as_it_was(
    pair: tuple[dict[str, int | str], dict[str, int | str]],
) -> None:
    had, has = pair
    kept = kept_of(had)
    assert kept.items() <= after(has, changes(kept, has)).items()


@given(pairs(), netdevs)
def test_only_what_differs_is_due_and_each_group_at_most_twice(
    pair: tuple[dict[str, int | str], dict[str, int | str]], netdev: Netdev
) -> None:
    had, has = pair
    kept = kept_of(had, netdev)
    found = changes(kept, has, netdev)
    groups = [change.group for change in found]
    assert [group for group in GROUPS if group in groups] == list(dict.fromkeys(groups))
    for change in found:
        assert change.stage is Stage.DOWN
        assert change.describe()
        assert not is_required(change)
        assert is_missed(change) == (not change.optional)
        for part in change.parts():
            assert part.group == change.group
            assert len(part.settings) == 1
        for each in change.settings:
            assert each.bit is not None or f"{change.group}/{each.name}" in kept


@given(some.ethtool_settings)
def test_each_group_has_one_line(settings: Values) -> None:
    kept = kept_of(settings)
    groups = {path.partition("/")[0] for path in kept}
    assert len(list(lines(Ethtool(ethtool=kept)))) == len(groups)


# ---- what is not a setting -----------------------------------------------------------------------


def test_what_both_ends_have_agreed_on_is_not_kept() -> None:
    negotiated: Values = {"link/autoneg": 1, "link/speed": 100, "link/advertised": "0x3f"}
    assert kept_of(negotiated) == {"link/autoneg": 1, "link/advertised": "0x3f"}
    forced: Values = {"link/autoneg": 0, "link/speed": 100, "link/advertised": "0x0"}
    assert kept_of(forced) == {"link/autoneg": 0, "link/speed": 100}
    pauses: Values = {"pause/rx": 1, "pause/tx": 1}
    assert kept_of({"pause/autoneg": 1, **pauses}) == {"pause/autoneg": 1}
    assert kept_of({"pause/autoneg": 0, **pauses}) == {"pause/autoneg": 0, **pauses}


def test_an_unknown_speed_is_a_setting_only_of_a_netdev_with_a_link() -> None:
    virtual: Values = {"link/autoneg": 0, "link/speed": UNKNOWN, "link/duplex": 0xFF}
    assert kept_of(virtual) == virtual
    assert kept_of(virtual, WITHOUT_LINK) == {"link/autoneg": 0}
    assert words(virtual, {**virtual, "link/speed": 100}) == ["link speed is 100, was unknown"]


def test_a_forced_speed_is_set_with_all_that_forces_it() -> None:
    had: Values = {"link/autoneg": 0, "link/speed": 1000, "link/duplex": 1}
    (change,) = changes(had, {**had, "link/autoneg": 1, "link/advertised": "0x3f"})
    assert [each.name for each in change.settings] == ["autoneg", "speed", "duplex"]
    assert change.describe() == "link autoneg is on, was off"
    assert change.wanted() == "link autoneg off, link speed 1000, link duplex full"
    assert change.parts() == ()


def test_a_speed_that_is_not_shown_without_a_link_is_set_only_while_the_netdev_is_down() -> None:
    had: Values = {"link/autoneg": 0, "link/speed": 1000, "link/duplex": 1}
    hidden: Values = {"link/autoneg": 0, "link/speed": UNKNOWN, "link/duplex": 0xFF}
    assert changes(had, hidden, WITHOUT_LINK) == []
    (change,) = changes(had, hidden, DOWN)
    assert change.optional
    assert not is_missed(change)
    assert not changes(had, hidden, UP)[0].optional


def test_autonegotiation_comes_back_with_what_was_advertised() -> None:
    had: Values = {"link/autoneg": 1, "link/advertised": "0x3"}
    (change,) = changes(had, {"link/autoneg": 0, "link/advertised": "0x0"})
    assert [(each.name, each.bit) for each in change.settings] == [
        ("autoneg", None),
        ("advertised", 0),
        ("advertised", 1),
    ]


def test_what_an_adaptive_driver_chooses_is_set_if_possible_and_not_missed() -> None:
    had: Values = {
        "coalescing/adaptive-rx": 1,
        "coalescing/rx-usecs": 3,
        "coalescing/tx-usecs": 3,
    }
    sure, doubtful = changes(had, {**had, "coalescing/rx-usecs": 9, "coalescing/tx-usecs": 9})
    assert (sure.describe(), sure.optional) == ("coalescing tx-usecs is 9, was 3", False)
    assert (doubtful.describe(), doubtful.optional) == ("coalescing rx-usecs is 9, was 3", True)


def test_a_feature_that_cannot_be_changed_any_more_is_left_alone() -> None:
    had: Values = {"features/on": "0x3", "features/off": "0x4"}
    assert changes(had, {"features/on": "0x0", "features/off": "0x0"}) == []
    assert changes(had, {}) == []
    assert words(had, {"features/on": "0x4", "features/off": "0x2"}) == [
        "feature 1 is off, was on, feature 2 is on, was off"
    ]


def test_features_are_set_bit_by_bit_and_called_by_their_names() -> None:
    had: Values = {"features/on": "0x2", "features/off": "0x4"}
    has: Values = {"features/on": "0x4", "features/off": "0x2"}
    names = {"features/on": {1: "rx-gro", 2: "rx-lro"}}
    on, off = Setting("on", 1, 0, 1, "rx-gro"), Setting("on", 0, 1, 2, "rx-lro")
    assert changes(had, has, ethtool_bits=names) == [SetEthtool("features", (on, off))]


def test_what_is_not_shown_counts_only_while_the_netdev_is_up() -> None:
    """Some drivers show nothing while it is down."""
    had: Values = {"rings/rx": 256, "wake-on-lan/modes": "0x20"}
    assert words(had, {}) == ["rx ring is not known, was 256"]
    assert words(had, {}, DOWN) == []


# ---- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "had", "has", "said"),
    [
        ("rings/rx", 256, 64, "rx ring is 64, was 256"),
        ("rings/tx-push", 0, 1, "tx-push is on, was off"),
        ("channels/combined", 4, 2, "number of combined channels is 2, was 4"),
        ("private-flags/link/xdp", 1, 0, "private flag link/xdp is off, was on"),
        ("private-flags/legacy-rx", 0, 1, "private flag legacy-rx is on, was off"),
        ("pause/autoneg", 1, 0, "pause autoneg is off, was on"),
        ("link/duplex", 1, 0, "link duplex is half, was full"),
        ("wake-on-lan/modes", "0x20", "0x0", "wake-on-LAN magic is off, was on"),
        ("hash-fields/udp4", 0xF0, 0x30, "hash of udp4 is sd, was sdfn"),
        ("hash-fields/udp4", 0x30, 0, "hash of udp4 is none, was sd"),
        ("rss/function", 1, 2, "RSS function is xor, was toeplitz"),
        ("rss/function", 8, 4, "RSS function is crc32, was 8"),
        ("rss/table", "0 1", "0 0", "RSS table has changed"),
        ("rss/key", "6d5a", "0000", "RSS key has changed"),
        ("tunables/rx-copybreak", 0, 256, "tunable rx-copybreak is 256, was 0"),
    ],
)
def test_a_difference_reads_as_expected(
    name: str, had: int | str, has: int | str, said: str
) -> None:
    bits = {"wake-on-lan/modes": {5: "magic"}}
    (change,) = changes({name: had}, {name: has}, ethtool_bits=bits)
    assert change.describe() == said


def test_settings_read_word_for_word_as_expected() -> None:
    kept: Values = {
        "rings/rx": 256,
        "rings/tx-push": 1,
        "features/on": "0x7",
        "features/off": "0x8",
        "link/autoneg": 0,
        "link/speed": UNKNOWN,
        "wake-on-lan/modes": "0x21",
        "rss/table": "0 1 0 1",
        "rss/key": "6d5a",
    }
    assert list(lines(Ethtool(ethtool=kept))) == [
        "rings: rx 256, tx-push on",
        "features: 3 on, 1 off",
        "link: autoneg off, speed unknown",
        "wake on lan: modes 2 on",
        "rss: table of 4 entries, key of 2 octets",
    ]


def test_what_is_wanted_is_said_bit_by_bit() -> None:
    had: Values = {"features/on": "0x1", "features/off": "0x2"}
    (change,) = changes(had, {"features/on": "0x2", "features/off": "0x1"})
    assert change.wanted() == "feature 0 on, feature 1 off"
    assert [part.wanted() for part in change.parts()] == ["feature 0 on", "feature 1 off"]
    assert not is_set(7)
    assert in_words("rings/rx", None) == "not known"
