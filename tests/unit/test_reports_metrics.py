"""Metrics: a parser of others reads back exactly what the messages say, and only so many series."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.condition import Condition
from amdcni.core.request import Mover
from amdcni.core.spec import Verb
from amdcni_agent.messages import (
    OUTCOMES,
    AgentState,
    Attachments,
    CallEnded,
    Counted,
    Healed,
    Lost,
    NotHealed,
    NotRestored,
    Reattached,
    What,
)
from amdcni_agent.metrics import BUCKETS_S, Metrics
from tests.unit.reporting import Samples, calls, countable, read_metrics, total, value_of


def metrics_of(said: Sequence[Counted], age_s: float = 0) -> Samples:
    metrics = Metrics()
    for message in said:
        metrics.take(message)
    return read_metrics(metrics.text(age_s).decode())


@given(st.lists(countable))
def test_every_event_is_counted_once(said: list[Counted]) -> None:
    samples = metrics_of(said)
    healed = Counter(each.condition for each in said if isinstance(each, Healed))
    missed = Counter(each.what for each in said if isinstance(each, NotRestored))
    for condition in Condition:
        counted = value_of(samples, "amdcni_healed_total", condition=condition.value)
        assert counted == healed[condition]
    for what in What:
        assert value_of(samples, "amdcni_not_restored_total", what=what.value) == missed[what]
    kinds = Counter(map(type, said))
    assert total(samples, "amdcni_not_healed_total") == kinds[NotHealed]
    assert total(samples, "amdcni_reattached_total") == kinds[Reattached]
    lost = sum(each.count for each in said if isinstance(each, Lost))
    assert total(samples, "amdcni_messages_dropped_total") == lost


@given(st.lists(calls))
def test_every_call_is_counted_by_verb_mover_and_outcome(said: list[CallEnded]) -> None:
    samples = metrics_of(said)
    expected = Counter(
        frozenset(
            {("verb", call.verb or "none"), ("mover", call.mover or "none")}
            | {("outcome", call.outcome)}
        )
        for call in said
    )
    counted = {labels: n for (name, labels), n in samples.items() if name == "amdcni_calls_total"}
    assert counted == expected


@given(st.lists(calls))
def test_every_duration_is_in_its_bucket_and_in_all_above(said: list[CallEnded]) -> None:
    samples = metrics_of(said)
    for bound in BUCKETS_S:
        below = sum(call.queued_s <= bound for call in said)
        assert value_of(samples, "amdcni_call_queue_seconds_bucket", le=str(bound)) == below
    for verb in {call.verb for call in said if call.lasted_s is not None}:
        lasted = [c.lasted_s for c in said if c.verb is verb and c.lasted_s is not None]
        name = "amdcni_call_duration_seconds"
        assert value_of(samples, f"{name}_count", verb=verb or "none") == len(lasted)
        for bound in BUCKETS_S:
            counted = value_of(samples, f"{name}_bucket", verb=verb or "none", le=str(bound))
            assert counted == sum(each <= bound for each in lasted)


def test_a_call_that_no_worker_began_has_no_duration() -> None:
    samples = metrics_of([CallEnded(None, None, "dropped", lasted_s=None, queued_s=2)])
    assert total(samples, "amdcni_call_duration_seconds_count") == 0
    assert total(samples, "amdcni_call_queue_seconds_count") == 1


@given(st.lists(countable))
def test_what_is_now_is_what_was_said_last(said: list[Counted]) -> None:
    samples = metrics_of(said)
    seen = [each for each in said if isinstance(each, Attachments)]
    last = seen[-1] if seen else Attachments({})
    for condition in Condition:
        now = value_of(samples, "amdcni_attachments", condition=condition.value)
        assert now == last.by_condition.get(condition, 0)
    assert total(samples, "amdcni_damaged_records") == last.damaged
    states = [each for each in said if isinstance(each, AgentState)]
    state = states[-1] if states else AgentState(False, "", 0, 0, 0)
    assert value_of(samples, "amdcni_workers", state="idle") == state.idle_workers
    assert value_of(samples, "amdcni_workers", state="busy") == state.busy_workers
    assert total(samples, "amdcni_calls_waiting") == state.waiting_calls
    assert total(samples, "amdcni_agent_serving") == state.is_serving
    assert [dict(labels) for name, labels in samples if name == "amdcni_agent_info"] == [
        {"version": state.version}
    ]


def test_the_age_of_the_last_sign_of_life_is_shown() -> None:
    assert total(metrics_of([], age_s=12.5), "amdcni_agent_heartbeat_age_seconds") == 12.5


@given(st.lists(countable))
def test_no_sequence_of_messages_makes_more_series_than_there_are_words(
    said: list[Counted],
) -> None:
    ours = [len(Verb) + 1, len(Mover) + 1, len(OUTCOMES)]
    most_calls = ours[0] * ours[1] * ours[2]
    buckets = len(BUCKETS_S) + 3
    most = most_calls + (len(Verb) + 2) * buckets + 2 * len(Condition) + len(What) + 10
    assert len(metrics_of(said)) <= most < 1000


@given(st.lists(countable))
def test_no_label_has_a_name_of_the_cluster(said: list[Counted]) -> None:
    labels = {label for _, series in metrics_of(said) for label, _ in series}
    allowed = {"verb", "mover", "outcome", "condition", "what", "state", "version", "le"}
    assert labels <= allowed
