"""How the netdev's queues are served: kept in short, and put back place by place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.aspects import queues
from amdcni.core.aspects.change import Around
from amdcni.core.aspects.queues import Queues, SetQueues, folded, plain
from amdcni.core.host import Netdev
from amdcni.core.names import IfName
from amdcni.testing import strategies as some

NIC = Netdev(7, IfName("eth1"))
AROUND = Around(IfName("eth1"))


def due(kept: Queues, seen: Queues) -> list[SetQueues]:
    return queues.due(kept, NIC, seen, AROUND)


def of(settings: dict[str, str]) -> Queues:
    return Queues(queues=folded(settings))


@given(some.queue_settings, some.queue_settings)
def test_what_is_due_makes_every_place_as_it_was_and_leaves_others(
    was: dict[str, str], now: dict[str, str]
) -> None:
    changed = dict(now)
    for change in due(of(was), of(now)):
        for place in change.places:
            assert was[place] == change.value != change.is_now
            assert change.is_now in (now.get(place), was.get("threaded"))
            changed[place] = change.value
            if place == "threaded":
                changed |= {p: change.value for p in changed if p.endswith("/threaded")}
    assert was.items() <= changed.items()
    left_alone = {p for p in now if p not in was and not p.endswith("/threaded")}
    assert all(changed[place] == now[place] for place in left_alone)


@given(some.queue_settings)
def test_what_is_as_it_was_is_not_due(settings: dict[str, str]) -> None:
    assert due(of(settings), of(settings)) == []


@given(some.queue_settings)
def test_what_was_not_kept_is_left_alone(settings: dict[str, str]) -> None:
    assert due(Queues(), of(settings)) == []


@given(some.queue_settings)
def test_if_nothing_can_be_read_everything_is_due(settings: dict[str, str]) -> None:
    places = {place for change in due(of(settings), Queues()) for place in change.places}
    assert places == set(settings)


@given(st.lists(st.integers(0, 300), unique=True), st.sampled_from(["0", "f"]))
def test_queues_in_a_row_with_one_value_are_one_entry(numbers: list[int], value: str) -> None:
    rows = folded({f"rx-{number}/rps_cpus": value for number in numbers})
    assert len(rows) == sum(number - 1 not in numbers for number in numbers)


def test_128_queues_that_are_served_alike_take_no_more_room_than_one() -> None:
    assert folded({f"tx-{number}/tx_maxrate": "0" for number in range(128)}) == {
        "tx-0-127/tx_maxrate": "0"
    }


def test_queues_that_changed_alike_are_one_change() -> None:
    was = {f"rx-{number}/rps_cpus": "0" for number in range(8)}
    now = {**was, **{f"rx-{number}/rps_cpus": "3" for number in (2, 3, 4)}}
    (change,) = due(of(was), of(now))
    assert change.describe() == "rps_cpus of rx-2-4 is 3, was 0"


def test_a_setting_of_the_netdev_itself_reads_without_a_queue() -> None:
    (change,) = due(Queues(queues={"threaded": "0"}), Queues(queues={"threaded": "1"}))
    assert change.describe() == "threaded is 1, was 0"


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        *(("0", "0"), ("00", "00"), ("0f", "0f"), ("f0", "f0")),
        *(("00000000,00000000", "0"), ("00000000,000000ff", "ff"), ("0f,00000000", "f,00000000")),
    ],
)
def test_a_mask_is_kept_without_zeros_in_front_if_it_is_of_many_cpus(mask: str, kept: str) -> None:
    """One of few CPUs is kept as the kernel writes it: so it is in earlier records."""
    assert plain(mask) == kept


@given(st.integers(0, 2**256 - 1))
def test_a_mask_without_zeros_in_front_is_the_same_number(mask: int) -> None:
    digits = f"{mask:064x}"
    words = ",".join(digits[at : at + 8] for at in range(0, 64, 8))
    assert int(plain(words).replace(",", ""), 16) == mask
    assert plain(words)[0] != "0" or plain(words) == "0"


@given(st.integers(0, 2**32 - 1))
def test_a_number_is_kept_as_it_is(number: int) -> None:
    assert plain(str(number)) == str(number)


def test_a_poller_that_differs_from_its_netdev_is_set_after_it() -> None:
    kept = Queues(queues={"threaded": "1", "napi-0/threaded": "0", "napi-1/threaded": "1"})
    seen = Queues(queues={"threaded": "0", "napi-0-1/threaded": "0"})
    assert [change.where for change in due(kept, seen)] == ["threaded", "napi-0/threaded"]


def test_a_setting_of_the_netdev_comes_before_those_of_its_queues() -> None:
    kept = Queues(queues={"napi-0/threaded": "1", "rx-0/rps_cpus": "f", "threaded": "2"})
    seen = Queues(queues={"napi-0/threaded": "0", "rx-0/rps_cpus": "0", "threaded": "0"})
    assert due(kept, seen)[0].where == "threaded"
