"""Plans in words: each step tells what it does, and to what."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.host import Neighbour
from amdcni.core.plans import plan_add, plan_release
from amdcni.core.steps import CopyRoutes, RestoreConfiguration, SaveRecord, Step
from amdcni.core.words import step_in_words
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover, Lending

handovers = st.one_of(
    some.handovers,
    some.native_handovers,
    some.userspace_handovers,
    some.native_userspace_handovers,
    some.configured_handovers,
)


@given(handovers)
def test_every_step_of_an_add_and_of_its_undo_is_told_on_one_line(handover: Handover) -> None:
    plan = plan_add(handover.request, handover.snapshot)
    steps: list[Step] = []
    for planned in plan.steps:
        steps += [planned.step, *planned.undo]
    told = [step_in_words(step) for step in steps]
    assert all(words and words.isprintable() and not words.endswith(".") for words in told)
    # Different steps are told differently, so that a person can follow.
    assert len(set(told)) == len(set(map(repr, steps)))


@given(handovers)
def test_what_is_written_first_tells_which_addresses_will_be_given_back(handover: Handover) -> None:
    save = plan_add(handover.request, handover.snapshot).steps[0].step
    assert isinstance(save, SaveRecord)
    captured = save.record.captured
    for address in () if captured is None else captured.addresses:
        assert str(address.interface) in step_in_words(save)


@given(some.attachments, some.captures, st.lists(some.neighbours, max_size=2))
def test_of_what_has_no_short_name_the_number_is_told(
    record: Attachment, captured: Captured, neighbours: list[Neighbour]
) -> None:
    captured = attrs.evolve(captured, neighbours=tuple(neighbours))
    restored = step_in_words(RestoreConfiguration(record, captured))
    for name, things in (
        ("routes", captured.routes),
        ("neighbours", captured.neighbours),
        ("sysctls", captured.sysctls),
    ):
        assert (f"{len(things)} {name}" in restored) == bool(things)
    copied = step_in_words(CopyRoutes(record, captured))
    assert f"{len(captured.routes)} routes" in copied


@given(some.lendings)
def test_every_step_of_a_release_is_told(lending: Lending) -> None:
    record = lending.record
    for boot_id in (record.boot_id, "another"):
        plan = plan_release(record, boot_id, None)
        for step in plan.work:
            assert step_in_words(step)
