"""The name that a netdev gets when its own is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.names import IfName, free_name, parse_ifname
from amdcni.testing import strategies as some

ascii_names = st.text("abcz019_-.", min_size=1, max_size=15).filter(
    lambda name: name not in (".", "..")
)


def first_taken(name: str, count: int) -> set[str]:
    """The names that would be chosen first, one after the other."""
    taken: set[str] = set()
    for _ in range(count):
        taken.add(free_name(IfName(name), taken))
    return taken


@given(ascii_names, st.integers(0, 120))
def test_a_free_name_is_free_valid_and_similar_to_the_wanted_one(name: str, count: int) -> None:
    wanted, taken = IfName(name), first_taken(name, count)
    chosen = free_name(wanted, taken)
    assert len(taken) == count
    assert chosen not in taken
    assert parse_ifname(chosen) == chosen
    if count == 0:
        assert chosen == name
        return
    stem, _, number = chosen.rpartition("_")
    assert name.startswith(stem)
    assert number.isdecimal()
    assert len(chosen) == min(15, len(name) + len(f"_{number}"))


@given(some.ifnames, st.sets(some.ifnames, max_size=3))
def test_the_wanted_name_is_kept_if_it_is_free(wanted: IfName, taken: set[IfName]) -> None:
    assert free_name(wanted, taken - {wanted}) == wanted


@given(ascii_names.filter(lambda name: len(name) < 14))
def test_the_first_alternative_is_the_wanted_name_with_1_appended(name: str) -> None:
    assert free_name(IfName(name), {name}) == f"{name}_1"
    assert free_name(IfName(name), {name, f"{name}_1"}) == f"{name}_2"


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("é" * 6, f"{'é' * 6}_1"), ("é" * 7, f"{'é' * 6}_1"), ("网卡网卡网", "网卡网卡_1")],
)
def test_a_name_in_another_script_is_cut_between_characters(name: str, chosen: str) -> None:
    assert free_name(IfName(name), {name}) == chosen
