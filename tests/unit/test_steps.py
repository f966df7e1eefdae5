"""Steps and plans are values."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import steps
from amdcni.core.attachment import Attachment
from amdcni.core.names import PluginName
from amdcni.core.spec import AttachmentId, PluginCall, Verb
from amdcni.core.steps import Outcome, Plan, Planned, ReleasePlugins, SaveRecord, Step
from amdcni.effects import steps as performed
from amdcni.testing import strategies as some


def modules_of(package: ModuleType) -> dict[str, ModuleType]:
    names = [found.name for found in pkgutil.iter_modules(package.__path__)]
    return {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}


def steps_in(module: ModuleType) -> set[type]:
    """The classes that a module of steps defines."""
    classes = inspect.getmembers(module, inspect.isclass)
    return {cls for _, cls in classes if cls.__module__ == module.__name__}


def test_every_class_in_a_module_of_steps_is_a_step() -> None:
    modules = modules_of(steps)
    del modules["execution"]
    found = set().union(*map(steps_in, modules.values()))
    assert found == set(get_args(Step))


def test_each_module_of_steps_has_a_performing_module_of_the_same_name() -> None:
    assert {*modules_of(performed), "execution"} == {*modules_of(steps)}
    assert all(hasattr(module, "perform") for module in modules_of(performed).values())


@given(some.attachments)
def test_steps_with_the_same_content_are_equal(record: Attachment) -> None:
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


@given(some.attachment_ids | st.none(), st.sampled_from(Verb), some.words, some.words)
def test_a_call_sets_all_six_variables_and_unused_ones_are_empty(
    id: AttachmentId | None, verb: Verb, netns: str, args: str
) -> None:
    """CNI SPEC 1.1 §2."""
    call = PluginCall(PluginName("host-device"), verb, {}, id, netns, args)
    assert call.variables(["/opt/cni/bin", "/usr/lib/cni"]) == {
        "CNI_COMMAND": verb.value,
        "CNI_CONTAINERID": "" if id is None else id.container_id,
        "CNI_IFNAME": "" if id is None else id.ifname,
        "CNI_NETNS": netns,
        "CNI_ARGS": args,
        "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
    }


def test_before_the_first_step_the_outcome_is_empty() -> None:
    assert set(attrs.astuple(Outcome())) == {None}
