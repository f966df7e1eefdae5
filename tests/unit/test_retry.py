"""Work that fails is tried ever more rarely, never given up, and a damaged note holds nobody up."""

from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import retry
from amdcni.core.retry import LONGEST_PAUSE_S, Attempts

boot_ids = st.uuids().map(str)
times = st.integers(0, 2**40)
attempts = st.builds(Attempts, boot_ids, st.integers(0, 10**6), times, st.booleans())
noted = st.none() | attempts


@given(attempts)
def test_what_is_noted_is_read(seen: Attempts) -> None:
    assert retry.parse_attempts(retry.to_bytes(seen)) == seen


@given(st.binary(max_size=80) | attempts.map(lambda seen: retry.to_bytes(seen)[:-1]))
def test_what_nobody_wrote_is_read_as_nothing(data: bytes) -> None:
    assert retry.parse_attempts(data) is None


@given(noted, boot_ids, times, st.booleans())
def test_a_failure_is_followed_by_a_pause_and_the_pause_ends(
    seen: Attempts | None, boot_id: str, now_s: int, home: bool
) -> None:
    after = retry.after_failure(seen, boot_id, now_s, home=home)
    assert not retry.is_due(after, boot_id, now_s)
    assert retry.is_due(after, boot_id, now_s + LONGEST_PAUSE_S)
    assert retry.is_home(after, boot_id) is home


@given(boot_ids, times, st.integers(2, 40))
def test_each_further_failure_makes_the_pause_longer_up_to_a_limit(
    boot_id: str, now_s: int, count: int
) -> None:
    pauses, seen = [], None
    for _ in range(count):
        seen = retry.after_failure(seen, boot_id, now_s, home=False)
        pauses.append(seen.next_s - now_s)
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1]
    assert pauses[-1] <= LONGEST_PAUSE_S


@given(attempts, boot_ids, times)
def test_a_note_of_another_boot_means_nothing(seen: Attempts, boot_id: str, now_s: int) -> None:
    if seen.boot_id != boot_id:
        assert retry.is_due(seen, boot_id, now_s)
        assert not retry.is_home(seen, boot_id)
        assert retry.after_failure(seen, boot_id, now_s, home=False).failures == 1


@given(attempts, times)
def test_no_note_holds_anybody_up_for_longer_than_the_longest_pause(
    seen: Attempts, now_s: int
) -> None:
    if not retry.is_due(seen, seen.boot_id, now_s):
        assert now_s < seen.next_s <= now_s + LONGEST_PAUSE_S


@given(noted, boot_ids, times)
def test_who_has_come_home_may_be_tried_at_once(
    seen: Attempts | None, boot_id: str, now_s: int
) -> None:
    after = retry.after_homecoming(seen, boot_id, now_s)
    assert retry.is_due(after, boot_id, now_s)
    assert retry.is_home(after, boot_id)
    again = retry.after_failure(after, boot_id, now_s, home=True)
    assert again == retry.after_failure(seen, boot_id, now_s, home=True)
