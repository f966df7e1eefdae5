"""Two calls at once are answered as if one came after the other."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from amdcni.core.errors import AmdcniError
from amdcni.core.spec import Verb
from tests.unit.copies import copies_of
from tests.unit.fake_machine import Machine
from tests.unit.fake_runtime import ask, config_for
from tests.unit.four_nics import A, V, delete_by_id_alone, delete_it, is_in_pod, new_node
from tests.unit.interloper import Interloper
from tests.unit.keeper import Keeper

Act = Callable[[Machine, dict[str, object]], object]


def add_by_pod1(machine: Machine, config: dict[str, object]) -> object:
    return ask(machine, Verb.ADD, config)


def add_by_pod2(machine: Machine, config: dict[str, object]) -> object:
    return ask(machine, Verb.ADD, config, container="pod2", netns="/run/netns/pod2")


def heal(machine: Machine, config: dict[str, object]) -> object:
    return ask(machine, Verb.STATUS, config_for(), netns=None)


def answer_to(act: Act, machine: Machine, config: dict[str, object]) -> object:
    """The answer to a call, or the kind of its error."""
    try:
        return act(machine, config)
    except AmdcniError as error:
        return type(error)


def state_of(machine: Machine, keeper: Keeper) -> object:
    """Who has the NIC, and what is on the disk."""
    pods = [number for number in (1, 2) if is_in_pod(machine, keeper, number, None)]
    return pods, keeper.is_whole(), sorted(machine.disk.files), machine.disk.markers


def in_turn(
    acts: Sequence[Act], machine: Machine, keeper: Keeper, config: dict[str, object]
) -> tuple[list[object], object]:
    return [answer_to(act, machine, config) for act in acts], state_of(machine, keeper)


NAMINGS = [("device", "delegate"), ("hwaddr", "native"), ("name", "native")]
PAIRS = [
    (second, first, is_lent)
    for second in (add_by_pod1, add_by_pod2, delete_by_id_alone, heal)
    for first in (add_by_pod1, delete_it)
    for is_lent in (False, True)
]


def each_named_in_every_way() -> Iterator[Any]:
    """Each pair of calls with each way to name the NIC; `make test` tries one way for each pair."""
    for number, (second, first, is_lent) in enumerate(PAIRS):
        for place, (by, mover) in enumerate(NAMINGS):
            words = (second.__name__, first.__name__, "lent" if is_lent else "at-home", by, mover)
            marks = [] if place == number % len(NAMINGS) else [pytest.mark.thorough]
            yield pytest.param(second, first, is_lent, by, mover, id="-".join(words), marks=marks)


@pytest.mark.parametrize(
    ("second", "first", "is_lent", "by", "mover"), list(each_named_in_every_way())
)
def test_two_calls_at_once_are_answered_as_if_one_came_after_the_other(
    first: Act, second: Act, is_lent: bool, by: str, mover: str
) -> None:
    def made() -> tuple[Machine, Keeper, dict[str, object]]:
        machine, keeper, config = new_node(mover, None, V if by == "name" else A)
        if by == "hwaddr":
            del config["deviceID"], config["pciBusID"]
            config["hwaddr"] = keeper.link.mac
        if is_lent:
            ask(machine, Verb.ADD, config)
        return machine, keeper, config

    node_again = copies_of(made())
    said, state = in_turn([first, second], *node_again())
    backwards, other_state = in_turn([second, first], *node_again())
    allowed = [(said, state), (backwards[::-1], other_state)]
    at = 0
    while True:
        machine, keeper, config = node_again()
        interloper = Interloper(machine, partial(answer_to, second, machine, config), at, bool)
        machine.looks.append(interloper.look)
        ours = answer_to(first, machine, config)
        machine.looks.clear()
        at += 1
        if not interloper.started:
            break
        if interloper.answers:
            assert ([ours, *interloper.answers], state_of(machine, keeper)) in allowed, (
                f"at look {at}"
            )
            assert machine.kernel.violations == []
    assert at > 5
