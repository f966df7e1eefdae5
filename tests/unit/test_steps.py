"""Steps and plans are values."""

import inspect
from typing import get_args

import attrs
import pytest
from hypothesis import given

from amdcni.core import steps
from amdcni.core.attachment import Attachment
from amdcni.core.steps import Outcome, Plan, Planned, ReleasePlugins, SaveRecord, Step
from amdcni.testing import strategies as some

NO_STEPS = {"PluginCall", "Planned", "Plan", "Release", "Outcome"}
"""What steps are made of, and what is made of steps."""


def test_every_class_that_says_what_shall_be_true_is_a_step() -> None:
    """An executor that matches `Step` to its end performs all there are."""
    here = {
        name
        for name, cls in inspect.getmembers(steps, inspect.isclass)
        if cls.__module__ == steps.__name__
    }
    assert {cls.__name__ for cls in get_args(Step)} == here - NO_STEPS


@given(some.attachments)
def test_a_step_is_equal_to_another_that_says_the_same(record: Attachment) -> None:
    assert SaveRecord(record) == SaveRecord(attrs.evolve(record))
    other_step: object = ReleasePlugins(record)
    assert SaveRecord(record) != other_step


@given(some.attachments)
def test_a_plan_cannot_be_changed(record: Attachment) -> None:
    plan = Plan((Planned(SaveRecord(record)),))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(plan, "steps", ())  # noqa: B010
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(plan.steps[0], "undo", ())  # noqa: B010


def test_before_the_first_step_nothing_has_been_found_out() -> None:
    assert attrs.astuple(Outcome()) == (None, None, None)
