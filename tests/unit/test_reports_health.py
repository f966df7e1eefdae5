"""When the agent counts as healthy, and when as ready."""

from hypothesis import given
from hypothesis import strategies as st

from amdcni_agent.health import HEARTBEAT_S, SILENCE_S, Health

times = st.floats(0, 1e9)


@given(times, st.floats(0, SILENCE_S, exclude_max=True), st.booleans())
def test_it_is_healthy_as_long_as_the_main_process_speaks(
    heard_s: float, later_s: float, is_serving: bool
) -> None:
    health = Health(heard_s, is_serving)
    now_s = heard_s + later_s
    healthy = health.find_illness(now_s) is None
    assert healthy == (now_s - heard_s < SILENCE_S)
    assert (health.find_hindrance(now_s) is None) == (healthy and is_serving)


@given(times, st.floats(SILENCE_S + 0.001, 1e9), st.booleans())
def test_a_silent_main_process_is_ill_and_not_ready(
    heard_s: float, later_s: float, is_serving: bool
) -> None:
    health = Health(heard_s, is_serving)
    assert health.find_illness(heard_s + later_s) is not None
    assert health.find_hindrance(heard_s + later_s) is not None


def test_one_lost_heartbeat_is_no_illness() -> None:
    assert 2 * HEARTBEAT_S < SILENCE_S


def test_the_words_say_how_long_it_has_been_silent() -> None:
    words = Health(heard_s=100).find_illness(145)
    assert words == "the main process has given no sign of life for 45 s"
