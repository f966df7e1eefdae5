"""Two calls at once are answered as if one came after the other."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from amdcni.core.errors import AmdcniError
from amdcni.core.spec import Verb
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


@pytest.mark.parametrize(
    ("by", "mover"), [("device", "delegate"), ("hwaddr", "native"), ("name", "native")]
)
@pytest.mark.parametrize("is_lent", [False, True], ids=["at-home", "lent"])
@pytest.mark.parametrize("first", [add_by_pod1, delete_it])
@pytest.mark.parametrize("second", [add_by_pod1, add_by_pod2, delete_by_id_alone, heal])
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

    said, state = in_turn([first, second], *made())
    backwards, other_state = in_turn([second, first], *made())
    allowed = [(said, state), (backwards[::-1], other_state)]
    at = 0
    while True:
        machine, keeper, config = made()
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
