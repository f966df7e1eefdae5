"""Failing work is tried less and less often, never given up; a damaged note delays nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import retry
from amdcni.core.retry import FIRST_PAUSE_S, LONGEST_PAUSE_S, Attempts

boot_ids = st.uuids().map(str)
times = st.integers(0, 2**40)
attempts = st.builds(Attempts, boot_ids, st.integers(0, 10**6), times, st.booleans())
noted = st.none() | attempts


@given(attempts)
def test_a_note_survives_being_written_and_read(seen: Attempts) -> None:
    assert retry.parse_attempts(retry.to_bytes(seen)) == seen


@given(st.binary(max_size=80) | attempts.map(lambda seen: retry.to_bytes(seen)[:-1]))
def test_a_damaged_note_is_treated_as_absent(data: bytes) -> None:
    assert retry.parse_attempts(data) is None


@pytest.mark.parametrize(("home", "line"), [(True, b"b 2 30 home\n"), (False, b"b 2 30 away\n")])
def test_a_note_is_one_line_with_single_spaces(home: bool, line: bytes) -> None:
    assert retry.to_bytes(Attempts("b", 2, 30, home)) == line
    assert retry.parse_attempts(line) == Attempts("b", 2, 30, home)
    assert retry.parse_attempts(line.replace(b" ", b"  ", 1)) is None


@given(noted, boot_ids, times, st.booleans())
def test_a_failure_is_followed_by_a_pause_and_the_pause_ends(
    seen: Attempts | None, boot_id: str, now_s: int, home: bool
) -> None:
    after = retry.after_failure(seen, boot_id, now_s, home=home)
    assert not retry.is_due(after, boot_id, now_s)
    assert retry.is_due(after, boot_id, now_s + LONGEST_PAUSE_S)
    assert retry.is_home(after, boot_id) is home


@given(boot_ids, times, st.integers(2, 40))
def test_each_further_failure_doubles_the_pause_up_to_a_limit(
    boot_id: str, now_s: int, count: int
) -> None:
    pauses, seen = [], None
    for _ in range(count):
        seen = retry.after_failure(seen, boot_id, now_s, home=False)
        pauses.append(seen.next_s - now_s)
        assert not retry.is_due(seen, boot_id, now_s), "however long the pause is"
    doubled = (FIRST_PAUSE_S * 2**failures for failures in range(count))
    assert pauses == [min(pause_s, LONGEST_PAUSE_S) for pause_s in doubled]


@given(attempts, boot_ids, times)
def test_a_note_of_another_boot_is_ignored(seen: Attempts, boot_id: str, now_s: int) -> None:
    if seen.boot_id != boot_id:
        assert retry.is_due(seen, boot_id, now_s)
        assert not retry.is_home(seen, boot_id)
        assert retry.after_failure(seen, boot_id, now_s, home=False).failures == 1


@given(attempts, times)
def test_no_note_delays_work_longer_than_the_longest_pause(seen: Attempts, now_s: int) -> None:
    if not retry.is_due(seen, seen.boot_id, now_s):
        assert now_s < seen.next_s <= now_s + LONGEST_PAUSE_S


@given(noted, boot_ids, times)
def test_the_rest_of_a_pause_ends_when_work_is_due(
    seen: Attempts | None, boot_id: str, now_s: int
) -> None:
    left_s = retry.pause_left_s(seen, boot_id, now_s)
    assert (left_s == 0) is retry.is_due(seen, boot_id, now_s)
    assert retry.is_due(seen, boot_id, now_s + left_s)
    assert left_s == 0 or not retry.is_due(seen, boot_id, now_s + left_s - 1)


@given(noted, boot_ids, times)
def test_after_the_homecoming_the_rest_may_be_tried_at_once(
    seen: Attempts | None, boot_id: str, now_s: int
) -> None:
    after = retry.after_homecoming(seen, boot_id, now_s)
    assert after.next_s == now_s
    assert retry.is_due(after, boot_id, now_s)
    assert retry.is_home(after, boot_id)
    again = retry.after_failure(after, boot_id, now_s, home=True)
    assert again == retry.after_failure(seen, boot_id, now_s, home=True)


@given(noted, boot_ids, times)
def test_before_another_homecoming_nothing_is_home_and_failures_still_count(
    seen: Attempts | None, boot_id: str, now_s: int
) -> None:
    before = retry.before_homecoming(seen, boot_id, now_s)
    assert before.next_s == now_s
    assert retry.is_due(before, boot_id, now_s)
    assert not retry.is_home(before, boot_id)
    again = retry.after_failure(before, boot_id, now_s, home=True)
    assert again == retry.after_failure(seen, boot_id, now_s, home=True)
