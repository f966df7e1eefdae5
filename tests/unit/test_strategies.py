"""The strategies of the kit draw what they promise."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar

from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.errors import AmdcniError
from amdcni.core.formats import parse_request
from amdcni.core.request import Invocation, parse_environment
from amdcni.core.spec import Verb
from amdcni.testing import strategies as some
from amdcni.testing.strategies import NetnsSaid, RuntimeCall

Calls = tuple[RuntimeCall, ...]

T = TypeVar("T")


def assert_draws(strategy: SearchStrategy[T], wanted: Callable[[T], bool]) -> None:
    """Assert that a value is drawn for which `wanted` is true; the smallest is not searched for."""
    find(strategy, wanted, settings=settings(max_examples=2000, phases=[Phase.generate]))


# ---- environments and input


@given(st.data(), st.sampled_from(sorted(set(Verb) - {Verb.VERSION})))
def test_a_valid_environment_is_accepted(data: st.DataObject, verb: Verb) -> None:
    assert parse_environment(data.draw(some.environments_for(verb))).verb is verb


@given(some.hostile_environments)
def test_any_environment_can_be_passed_and_is_accepted_or_refused(
    environ: Mapping[str, str],
) -> None:
    for name, value in environ.items():
        assert b"\0" not in os.fsencode(name) + os.fsencode(value)
    # Anything but a refusal would be a fault in the parser.
    with contextlib.suppress(AmdcniError):
        assert isinstance(parse_environment(environ), Invocation)


def test_hostile_environments_lack_variables_and_contain_undecodable_bytes() -> None:
    assert_draws(some.hostile_environments, lambda environ: "CNI_COMMAND" not in environ)
    assert_draws(some.hostile_environments, lambda environ: environ.get("CNI_IFNAME") == "")
    assert_draws(
        some.hostile_environments,
        lambda environ: any("\udc80" <= letter <= "\udcff" for letter in "".join(environ.values())),
    )


@given(st.data(), some.hostile_inputs)
def test_any_input_is_a_request_or_refused(data: st.DataObject, text: bytes) -> None:
    verb = data.draw(st.sampled_from([Verb.ADD, Verb.DEL, Verb.CHECK, Verb.GC, Verb.STATUS]))
    invocation = data.draw(some.invocations_for(verb))
    with contextlib.suppress(AmdcniError):
        assert parse_request(invocation, text).invocation.verb is verb


# ---- sequences of calls


@given(some.runtime_calls())
def test_check_comes_only_after_add_and_before_del(calls: Calls) -> None:
    """CNI SPEC 1.1 §3: a runtime "must not call CHECK for a container that has not been ADDed"."""
    for container in {call.container for call in calls} - {None}:
        assert container is not None
        verbs = [call.verb for call in some.of_container(calls, container)]
        for place, verb in enumerate(verbs):
            if verb is Verb.CHECK:
                assert Verb.ADD in verbs[:place]
                assert Verb.DEL not in verbs[:place]
            if verb is Verb.ADD:
                assert Verb.DEL not in verbs[:place]


@given(some.runtime_calls())
def test_a_result_is_known_only_after_an_answer(calls: Calls) -> None:
    for place, call in enumerate(calls):
        if call.has_result:
            assert any(
                earlier.verb is Verb.ADD
                and earlier.container == call.container
                and not earlier.answer_is_lost
                for earlier in calls[:place]
            )


@given(some.runtime_calls())
def test_a_netns_that_is_gone_does_not_come_back(calls: Calls) -> None:
    ended: set[int | None] = set()
    for call in calls:
        if call.netns is NetnsSaid.EMPTY:
            assert call.verb is Verb.DEL
        if call.container in ended:
            assert call.netns_is_gone
        if call.netns_is_gone:
            ended.add(call.container)


@given(some.runtime_calls(containers=4, devices=3))
def test_the_calls_are_about_the_given_numbers_of_containers_and_devices(calls: Calls) -> None:
    devices: dict[int, int] = {}
    for call in calls:
        assert call.container is None or 0 <= call.container < 4
        assert set(call.valid) <= set(range(4))
        if call.container is not None:
            assert 0 <= call.device < 3
            assert devices.setdefault(call.container, call.device) == call.device


@given(some.runtime_calls())
def test_gc_lists_every_container_that_was_added_and_not_yet_deleted(calls: Calls) -> None:
    for place, call in enumerate(calls):
        if call.verb is Verb.GC:
            state = {earlier.container: earlier.verb for earlier in calls[:place]}
            held = {c for c, verb in state.items() if verb in (Verb.ADD, Verb.CHECK)}
            assert held <= set(call.valid)


def _is_late(calls: Calls) -> bool:
    """Whether a DEL comes when another container already has its device."""
    owners: dict[int, int | None] = {}
    for call in calls:
        if call.verb is Verb.ADD:
            owners[call.device] = call.container
        elif call.verb is Verb.DEL and owners.get(call.device, call.container) != call.container:
            return True
    return False


def _count(calls: Calls, verb: Verb) -> int:
    return max(Counter(c.container for c in calls if c.verb is verb).values(), default=0)


def test_sequences_known_from_practice_are_drawn() -> None:
    sequences = some.runtime_calls()
    assert_draws(sequences, _is_late)
    assert_draws(sequences, lambda calls: _count(calls, Verb.DEL) >= 3)
    assert_draws(sequences, lambda calls: _count(calls, Verb.ADD) == 2)
    assert_draws(sequences, lambda calls: any(call.answer_is_lost for call in calls))
    assert_draws(sequences, lambda calls: any(call.netns is NetnsSaid.EMPTY for call in calls))
    assert_draws(
        sequences,
        lambda calls: (
            {c.container for c in calls if c.verb is Verb.ADD}
            > {c.container for c in calls if c.verb is Verb.DEL}
        ),
    )
    assert_draws(
        sequences,
        lambda calls: (
            {c.container for c in calls if c.verb is Verb.DEL}
            - {c.container for c in calls if c.verb is Verb.ADD}
            != set()
        ),
    )
    assert_draws(
        sequences, lambda calls: any(call.verb is Verb.GC and call.valid for call in calls)
    )


def test_a_call_is_described_in_words() -> None:
    late = RuntimeCall(Verb.DEL, 1, 2, NetnsSaid.EMPTY, netns_is_gone=True)
    assert str(late) == (
        "DEL of container 1 with device 2, without a netns, after its netns has ended"
    )
    added = RuntimeCall(Verb.ADD, 0, answer_is_lost=True)
    assert str(added) == "ADD of container 0 with device 0, whose answer is lost"
    assert str(RuntimeCall(Verb.GC, valid=(0, 2))) == "GC except for [0, 2]"
