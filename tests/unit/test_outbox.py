"""Which Kubernetes event is posted when, and how many at most; what is dropped is counted."""

import math
from collections import Counter
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdcni_agent.happenings import Happened, Happening, Pod
from amdcni_agent.kube_events import (
    ABOUT,
    Answer,
    Exists,
    Forbidden,
    Gone,
    Later,
    Posted,
    Refused,
    answer_of,
)
from amdcni_agent.outbox import Limits, Moment, Outbox, Request
from tests.unit.fake_api_server import change_faults_in, faults_in
from tests.unit.reporting import happenings

SMALL = Limits(
    object_burst=4,
    object_refill_s=30,
    burst=5,
    refill_s=2,
    waiting=6,
    known=10,
    retry_s=1,
    most_retry_s=60,
    forbidden_s=100,
)
FREE = Limits(object_burst=10**6, burst=10**6)
POD = Pod("default", "job-1", "0b0b0b0b-0000-4000-8000-000000000001")
HEALED = Happened(Happening.HEALED, "0000:c1:00.0", "0000:c1:00.0: it was returned")
REFUSED = Happened(Happening.REFUSED, "net1", "ADD of net1 was refused: held", POD)

answers: st.SearchStrategy[Answer] = st.one_of(
    st.just(Posted()),
    st.just(Posted()),
    st.just(Exists()),
    st.just(Gone()),
    st.builds(Forbidden, st.just("no")),
    st.builds(Refused, st.just("never")),
    st.builds(Later, st.sampled_from(["500", "429"]), st.none() | st.floats(0, 1e9)),
)
few_happenings = st.sampled_from(
    [HEALED, REFUSED, *(attrs.evolve(HEALED, subject=f"0000:c{n}:00.0") for n in range(20))]
)
steps = st.tuples(st.floats(0, 40), st.lists(happenings | few_happenings, max_size=6), answers)


def at(now_s: float) -> Moment:
    return Moment(now_s, 1_800_000_000 + now_s)


def played(
    outbox: Outbox, script: list[tuple[float, list[Happened], Answer]]
) -> Iterator[tuple[float, Request, Answer]]:
    """Play what happens, each request being made as soon as the outbox allows."""
    now_s = 0.0
    for passed_s, said, answer in script:
        now_s += passed_s
        for happened in said:
            outbox.happened(happened, at(now_s))
        while (request := outbox.next(at(now_s))) is not None:
            yield now_s, request, answer
            outbox.answered(answer, at(now_s))


@given(st.lists(steps, max_size=15))
def test_there_are_never_more_requests_than_allowed_in_any_window(
    script: list[tuple[float, list[Happened], Answer]],
) -> None:
    times = [now_s for now_s, _, _ in played(Outbox("node-1", SMALL), script)]
    for number, begin_s in enumerate(times):
        for later, end_s in enumerate(times[number:]):
            assert later + 1 <= SMALL.burst + (end_s - begin_s) / SMALL.refill_s + 1e-6


@given(st.lists(steps, max_size=15))
def test_no_object_is_told_of_more_than_is_allowed_for_it(
    script: list[tuple[float, list[Happened], Answer]],
) -> None:
    limits = attrs.evolve(SMALL, burst=10**6, known=10**6, waiting=10**6)
    always: list[tuple[float, list[Happened], Answer]] = [
        (passed_s, said, Posted()) for passed_s, said, _ in script
    ]
    asked: dict[Pod | None, list[float]] = {}
    for now_s, request, _ in played(Outbox("node-1", limits), always):
        asked.setdefault(request.told.event.pod, []).append(now_s)
    for times in asked.values():
        for number, begin_s in enumerate(times):
            for later, end_s in enumerate(times[number:]):
                most = limits.object_burst + (end_s - begin_s) / limits.object_refill_s
                assert later + 1 <= most + 1e-6


@given(st.lists(steps, max_size=15))
def test_whatever_happens_memory_is_bounded(
    script: list[tuple[float, list[Happened], Answer]],
) -> None:
    outbox = Outbox("node-1", SMALL)
    for _ in played(outbox, script):
        pass
    assert len(outbox._waiting) <= SMALL.waiting
    for kept in (outbox._told, outbox._there, outbox._objects, outbox._forbidden):
        assert len(kept.entries) <= SMALL.known


@given(st.lists(steps, max_size=15))
def test_the_api_server_is_asked_only_for_what_it_takes(
    script: list[tuple[float, list[Happened], Answer]],
) -> None:
    names: set[str] = set()
    for _, request, answer in played(Outbox("node-1", SMALL), script):
        if request.is_new:
            assert list(faults_in(request.body)) == []
        else:
            assert list(change_faults_in(request.body)) == []
            assert request.told.name in names
        if isinstance(answer, Posted | Exists):
            names.add(request.told.name)


@given(st.lists(happenings | few_happenings, max_size=25))
def test_what_happens_again_is_counted_in_one_event(said: list[Happened]) -> None:
    """Counts and names as the API server has them at last are those of what has happened."""
    outbox = Outbox("node-1", FREE)
    script: list[tuple[float, list[Happened], Answer]] = [(1, [each], Posted()) for each in said]
    there = {request.told.name: request.told for _, request, _ in played(outbox, script)}
    expected: Counter[object] = Counter()
    for each in said:
        words = "" if ABOUT[each.what].is_retried else each.words
        targets = {each.pod, None} if ABOUT[each.what].on_node else {each.pod}
        for target in targets:
            expected[each.what, target, each.subject, words] += 1
    counted = Counter(
        {
            (t.event.what, t.event.pod, t.event.subject, t.event.words): t.count
            for t in there.values()
        }
    )
    assert counted == expected
    assert len(there) == len(expected)
    assert outbox.dropped == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_new_events_of_the_same_moment_have_different_names(objects: list[int]) -> None:
    outbox = Outbox("node-1", FREE)
    for number, which in enumerate(objects):
        pod = Pod("default", f"pod-{which}")
        outbox.happened(attrs.evolve(HEALED, words=str(number), pod=pod), at(0))
    names = []
    while (request := outbox.next(at(0))) is not None:
        names.append(request.told.name)
        outbox.answered(Posted(), at(0))
    assert len(set(names)) == len(names) == 2 * len(objects)


@settings(max_examples=20)
@given(st.lists(st.sampled_from([Later("500"), Later("429", 30.0)]), min_size=1, max_size=12))
def test_nothing_is_lost_by_an_api_server_that_is_away_for_a_while(failures: list[Later]) -> None:
    outbox, now_s, waits = Outbox("node-1"), 0.0, []
    outbox.happened(HEALED, at(now_s))
    for failure in failures:
        request = outbox.next(at(now_s))
        assert request is not None
        assert request.is_new
        outbox.answered(failure, at(now_s))
        assert outbox.next(at(now_s)) is None
        due_s = outbox.next_time_s()
        assert due_s is not None
        waits.append(due_s - now_s)
        assert waits[-1] >= (failure.after_s or 0)
        now_s = due_s
    assert max(waits) <= 300
    assert outbox.next(at(now_s)) is not None
    outbox.answered(Posted(), at(now_s))
    assert (outbox.posted, outbox.dropped, outbox.next_time_s()) == (1, 0, None)


def test_failures_are_waited_after_ever_longer() -> None:
    outbox, now_s, waits = Outbox("node-1"), 0.0, []
    outbox.happened(HEALED, at(now_s))
    for _ in range(12):
        assert outbox.next(at(now_s)) is not None
        outbox.answered(Later("500"), at(now_s))
        due_s = outbox.next_time_s() or 0
        waits.append(due_s - now_s)
        now_s = due_s
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_an_event_that_has_expired_is_made_anew_with_its_count() -> None:
    outbox = Outbox("node-1")
    for _ in range(2):
        outbox.happened(REFUSED, at(0))
        request = outbox.next(at(0))
        assert request is not None
        outbox.answered(Posted(), at(0))
    outbox.happened(REFUSED, at(1))
    patch = outbox.next(at(1))
    assert patch is not None
    assert not patch.is_new
    outbox.answered(Gone(), at(1))
    anew = outbox.next(at(1))
    assert anew is not None
    assert anew.is_new
    assert anew.body["count"] == 3


def test_an_answer_that_was_lost_leaves_one_event_with_the_right_count() -> None:
    outbox = Outbox("node-1")
    outbox.happened(REFUSED, at(0))
    assert outbox.next(at(0)) is not None
    outbox.happened(REFUSED, at(1))
    outbox.answered(Later("the connection was closed"), at(1))
    again = outbox.next(at(10))
    assert again is not None
    assert again.is_new
    outbox.answered(Exists(), at(10))
    patch = outbox.next(at(10))
    assert patch is not None
    assert not patch.is_new
    assert patch.body["count"] == 2


def test_where_it_is_forbidden_nothing_is_posted_for_a_while_and_elsewhere_it_is() -> None:
    outbox = Outbox("node-1")
    outbox.happened(REFUSED, at(0))
    assert outbox.next(at(0)) is not None
    assert outbox.answered(Forbidden("403 no"), at(0)) == "403 no"
    outbox.happened(REFUSED, at(1))
    outbox.happened(attrs.evolve(REFUSED, pod=Pod("other", "job-2")), at(1))
    request = outbox.next(at(1))
    assert request is not None
    assert request.told.event.namespace == "other"
    outbox.answered(Posted(), at(1))
    assert outbox.next(at(1)) is None
    outbox.happened(REFUSED, at(601))
    assert outbox.next(at(601)) is not None
    # It has been complained of already.
    assert outbox.answered(Forbidden("403 no"), at(601)) is None


def test_a_complaint_is_made_once_until_something_is_posted() -> None:
    outbox, now_s, complaints = Outbox("node-1"), 0.0, []
    for answer in (Later("a"), Later("a"), Later("b"), Posted(), Later("b")):
        outbox.happened(HEALED, at(now_s))
        assert outbox.next(at(now_s)) is not None
        complaints.append(outbox.answered(answer, at(now_s)))
        now_s += 100
    assert complaints == ["a", None, "b", None, "b"]


def test_a_happening_too_many_for_its_object_is_counted_in_the_event_all_the_same() -> None:
    outbox = Outbox("node-1", SMALL)
    last = None
    for number in range(SMALL.object_burst * 3):
        outbox.happened(REFUSED, at(number / 100))
        if (request := outbox.next(at(number / 100))) is not None:
            last = outbox.answered(Posted(), at(number / 100))
    assert last is None
    assert outbox.posted == SMALL.object_burst
    assert outbox.dropped == 0
    outbox.happened(REFUSED, at(SMALL.object_refill_s + 1))
    request = outbox.next(at(SMALL.object_refill_s + 1))
    assert request is not None
    assert request.body["count"] == SMALL.object_burst * 3 + 1


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (201, b"{}", Posted()),
        (200, b"\xff", Posted()),
        (404, b"", Gone()),
        (410, b"{}", Gone()),
        (409, b'{"reason": "AlreadyExists"}', Exists()),
        (409, b'{"reason": "Conflict", "message": "try again"}', Later("409 try again")),
        (403, b'{"message": "no"}', Forbidden("403 no")),
        (403, b'{"details": {"causes": [{"reason": "NamespaceTerminating"}]}}', Gone()),
        (403, b'{"details": {"causes": [1, null]}}', Forbidden("403")),
        (422, b'{"message": "it is wrong"}', Refused("422 it is wrong")),
        (401, b'{"message": "Unauthorized"}', Later("401 Unauthorized")),
        (302, b"", Later("302")),
        (500, b"[]", Later("500")),
    ],
)
def test_each_response_is_understood(status: int, body: bytes, answer: Answer) -> None:
    assert answer_of(status, None, body) == answer


@given(st.integers(100, 999), st.none() | st.text(), st.binary() | st.text().map(str.encode))
def test_any_response_is_an_answer(status: int, retry_after: str | None, body: bytes) -> None:
    answer = answer_of(status, retry_after, body)
    if isinstance(answer, Later) and answer.after_s is not None:
        assert answer.after_s >= 0


def test_only_whole_seconds_are_taken_as_how_long_to_wait() -> None:
    assert answer_of(429, "7", b"") == Later("429", 7.0)
    assert answer_of(429, "Wed, 21 Oct 2015 07:28:00 GMT", b"") == Later("429")
    assert answer_of(503, "9" * 400, b"") == Later("503", math.inf)
