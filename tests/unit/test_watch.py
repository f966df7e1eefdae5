"""When the agent looks at all attachments, and what makes it look."""

import hypothesis.strategies as st
from hypothesis import given

from amdcni_agent.watch import Pace


def test_the_first_look_is_due_at_once_and_then_every_minute() -> None:
    pace = Pace(100.0)
    assert pace.due_s == 100
    pace.begun(100)
    assert pace.due_s == 160


def test_a_netdev_that_appears_is_looked_at_at_once() -> None:
    pace = Pace(0.0)
    pace.begun(0)
    pace.news(10, at_work=False)
    assert pace.due_s == 10


def test_while_a_call_is_at_work_a_netdev_that_appears_waits_a_moment() -> None:
    pace = Pace(0.0)
    pace.begun(0)
    pace.news(10, at_work=True)
    assert pace.due_s == 10 + pace.least_s


def test_two_looks_are_never_closer_than_they_may_be() -> None:
    pace = Pace(0.0)
    pace.begun(10)
    pace.news(10.01, at_work=False)
    assert pace.due_s == 10 + pace.least_s


def test_a_call_that_has_ended_is_looked_at_a_second_later() -> None:
    pace = Pace(0.0)
    pace.begun(0)
    pace.after_call(5)
    assert pace.due_s == 5 + pace.after_call_s


def test_what_has_failed_is_looked_at_when_its_pause_is_over_and_no_later() -> None:
    pace = Pace(0.0)
    pace.begun(0)
    pace.due_at(10)
    assert pace.due_s == 10
    pace.due_at(3600)
    assert pace.due_s == 10


@given(st.lists(st.tuples(st.sampled_from(["news", "call", "look"]), st.floats(0, 100))))
def test_whatever_happens_a_look_is_due_within_the_minute_and_within_a_second_of_news(
    events: list[tuple[str, float]],
) -> None:
    pace, now_s, news_s = Pace(0.0), 0.0, None
    for what, passed_s in events:
        now_s += passed_s
        if what == "look" or now_s >= pace.due_s:
            pace.begun(now_s)
            news_s = None
        if what == "news":
            pace.news(now_s, at_work=True)
            news_s = now_s if news_s is None else news_s
        if what == "call":
            pace.after_call(now_s)
        assert pace.due_s <= now_s + pace.every_s
        assert news_s is None or pace.due_s <= news_s + 1
