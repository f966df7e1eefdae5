"""Which call goes to which worker, in any order of events."""

from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from amdcni_agent.schedule import Begin, Limits, Look, Refuse, Retire, Schedule, Start

LOOKING, TIDYING = -1, -2

LIMITS = Limits(spare_workers=2, most_workers=4, most_waiting=5, idle_s=30)


def actions_of(schedule: Schedule, now_s: float = 0.0, first: int = 101) -> list[object]:
    """Carry out everything that is to be done now; new workers have the numbers from `first` on."""
    done: list[object] = []
    while (action := schedule.next(now_s)) is not None:
        done.append(action)
        assert len(done) < 100
        if action == Start():
            schedule.started(first + done.count(Start()) - 1, now_s)
    return done


def test_in_idle_times_there_are_two_workers() -> None:
    assert actions_of(Schedule(LIMITS)) == [Start(), Start()]


def test_a_call_is_begun_by_an_idle_worker_at_once() -> None:
    schedule = Schedule(LIMITS)
    actions_of(schedule)
    assert schedule.came(1, until_s=5)
    assert actions_of(schedule) == [Begin(102, 1)]


def test_more_calls_than_workers_start_more_workers_up_to_the_limit() -> None:
    schedule = Schedule(LIMITS)
    for call in range(5):
        assert schedule.came(call, until_s=5)
    done = actions_of(schedule)
    assert Counter(map(type, done)) == {Start: 4, Begin: 4}
    assert schedule.waiting == 1


def test_a_call_that_too_many_wait_before_is_not_accepted() -> None:
    schedule = Schedule(LIMITS)
    assert [schedule.came(call, until_s=5) for call in range(6)] == [True] * 5 + [False]


def test_a_call_that_no_worker_could_begin_in_its_time_is_refused() -> None:
    schedule = Schedule(LIMITS)
    for call in range(5):
        schedule.came(call, until_s=5)
    actions_of(schedule)
    assert schedule.next_time_s() == 5
    assert actions_of(schedule, 5) == [Refuse(4)]


def test_a_worker_whose_client_has_left_is_ended_once_and_gets_no_other_call() -> None:
    schedule = Schedule(LIMITS)
    actions_of(schedule)
    schedule.came(1, until_s=5)
    actions_of(schedule)
    assert schedule.left(1) == 102
    assert schedule.left(1) is None
    assert schedule.finished(102, 0) == 1
    assert schedule.is_leaving(102)
    schedule.came(2, until_s=5)
    assert actions_of(schedule)[0] == Begin(101, 2)


def test_a_client_may_leave_once_its_answer_is_on_its_way() -> None:
    schedule = Schedule(LIMITS)
    actions_of(schedule)
    schedule.came(1, until_s=5)
    actions_of(schedule)
    assert schedule.answered(102) == 1
    assert schedule.left(1) is None
    assert schedule.working == 1
    assert schedule.finished(102, 0) is None
    assert schedule.idle == LIMITS.spare_workers


def test_a_waiting_call_whose_client_has_left_is_never_begun() -> None:
    schedule = Schedule(LIMITS)
    schedule.came(1, until_s=5)
    assert schedule.left(1) is None
    assert Begin(101, 1) not in actions_of(schedule)


def test_the_call_of_a_worker_that_dies_is_named_and_another_worker_is_started() -> None:
    schedule = Schedule(LIMITS)
    actions_of(schedule)
    schedule.came(1, until_s=5)
    actions_of(schedule)
    assert schedule.died(102) == 1
    assert actions_of(schedule, first=103) == [Start()]


def test_workers_that_are_not_needed_any_more_end_after_a_while() -> None:
    schedule = Schedule(LIMITS)
    for call in range(4):
        schedule.came(call, until_s=5)
    begun = [each for each in actions_of(schedule) if isinstance(each, Begin)]
    for each in begun:
        schedule.finished(each.worker, 10)
    assert actions_of(schedule, 39) == []
    assert schedule.next_time_s() == 40
    assert [type(each) for each in actions_of(schedule, 40)] == [Retire, Retire]
    assert schedule.idle == 2


def test_a_look_waits_until_no_call_does_and_only_one_is_at_work() -> None:
    schedule = Schedule(LIMITS)
    actions_of(schedule)
    schedule.want_look()
    schedule.came(1, until_s=5)
    schedule.want_look()
    assert actions_of(schedule) == [Begin(102, 1), Look(101)]
    schedule.want_look()
    schedule.finished(102, 0)
    assert actions_of(schedule) == []
    assert schedule.finished(101, 0) is None
    assert [type(each) for each in actions_of(schedule)] == [Look]


def test_an_agent_that_ends_refuses_what_waits_and_waits_for_what_is_at_work() -> None:
    schedule = Schedule(LIMITS)
    for call in range(5):
        schedule.came(call, until_s=5)
    actions_of(schedule)
    schedule.end()
    assert actions_of(schedule) == [Refuse(4)]
    assert not schedule.is_over
    for worker in range(101, 105):
        schedule.finished(worker, 0)
    assert [type(each) for each in actions_of(schedule)] == [Retire] * 4
    assert schedule.is_over


class AnyOrder(RuleBasedStateMachine):
    """Events in any order, carried out by an agent that notes what has become of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule(LIMITS)
        self.now_s = 0.0
        self.workers: dict[int, int | None] = {}
        self.waiting: set[int] = set()
        self.calls = 0
        self.started = 0
        self.ended = False

    @initialize()
    def begin(self) -> None:
        self.act()

    def act(self) -> None:
        while (action := self.schedule.next(self.now_s)) is not None:
            match action:
                case Start():
                    self.started += 1
                    self.workers[self.started] = None
                    self.schedule.started(self.started, self.now_s)
                case Begin(worker, call):
                    assert self.workers[worker] is None
                    self.waiting.remove(call)
                    self.workers[worker] = call
                case Look(worker):
                    assert self.workers[worker] is None
                    assert not self.waiting
                    self.workers[worker] = LOOKING
                    assert Counter(self.workers.values())[LOOKING] == 1
                case Refuse(call):
                    self.waiting.remove(call)
                case Retire(worker):
                    assert self.workers.pop(worker) is None
                    self.schedule.died(worker)

    @rule(wait_s=st.floats(0, 10))
    def a_call_comes(self, wait_s: float) -> None:
        self.calls += 1
        if self.schedule.came(self.calls, self.now_s + wait_s):
            self.waiting.add(self.calls)
        self.act()

    @rule()
    def a_look_is_due(self) -> None:
        if not self.ended:
            self.schedule.want_look()
        self.act()

    @rule(data=st.data())
    def a_client_leaves(self, data: st.DataObject) -> None:
        call = data.draw(st.integers(0, self.calls + 1))
        serving = [worker for worker, at in self.workers.items() if at == call]
        told = self.schedule.left(call)
        assert told is None or [told] == serving
        self.waiting.discard(call)
        self.act()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_worker_has_its_answer(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.workers)))
        at = self.workers[worker]
        if at is None or at > 0:
            assert self.schedule.answered(worker) == at
            self.workers[worker] = None if at is None else TIDYING
        self.act()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_worker_finishes(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.workers)))
        at = self.workers[worker]
        call = self.schedule.finished(worker, self.now_s)
        assert call == (at if at is not None and at > 0 else None)
        if self.schedule.is_leaving(worker):
            self.schedule.died(worker)
            del self.workers[worker]
        else:
            self.workers[worker] = None
        self.act()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.workers)))
        at = self.workers.pop(worker)
        assert self.schedule.died(worker) == (at if at is not None and at > 0 else None)
        self.act()

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.act()

    @rule()
    def the_agent_is_to_end(self) -> None:
        self.ended = True
        self.schedule.end()
        self.act()

    @invariant()
    def what_the_schedule_counts_is_what_there_is(self) -> None:
        at_work = [each for each in self.workers.values() if each is not None]
        assert self.schedule.waiting == len(self.waiting)
        assert self.schedule.working == len(at_work)
        assert self.schedule.idle == len(self.workers) - len(at_work)
        assert len(self.workers) <= LIMITS.most_workers
        assert self.schedule.is_over == (self.ended and not at_work and not self.waiting)

    @invariant()
    def nothing_waits_while_a_worker_could_begin_it(self) -> None:
        if self.waiting:
            assert not self.schedule.idle
            assert len(self.workers) == LIMITS.most_workers
        if not self.ended:
            assert len(self.workers) >= LIMITS.spare_workers


test_in_any_order_no_call_is_lost_or_begun_twice = AnyOrder.TestCase
AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
