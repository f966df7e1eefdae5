"""What the agent says of itself, and when."""

import pytest

from amdcni.core.condition import Condition
from amdcni.core.request import Mover
from amdcni.core.spec import Verb
from amdcni_agent.happenings import Happened, Happening
from amdcni_agent.health import HEARTBEAT_S
from amdcni_agent.ledger import Doing, Ledger
from amdcni_agent.messages import (
    DROPPED,
    FELL_BACK,
    Attachments,
    CallEnded,
    Healed,
    Message,
)
from amdcni_agent.notify import Notifier
from amdcni_agent.reports import Reporter


class ShortLived(Reporter):
    """A reporting process that ends as soon as it is started, as where memory is short."""

    def __init__(self) -> None:
        super().__init__(None, lambda *_, **__: None)
        self.starts = 0

    def start(self) -> None:
        self.starts += 1

    def died(self) -> bool:
        return True

    def send(self, message: Message) -> None:
        pass


def test_a_reporting_process_that_ends_at_once_is_not_started_at_every_call() -> None:
    reporter = ShortLived()
    ledger = Ledger(lambda *_, **__: None, reporter, Notifier(), "1.0")
    for number in range(100):
        ledger.say(Doing(is_serving=True, busy_workers=number), now_s=number / 100)
    assert reporter.starts == 1
    ledger.say(Doing(is_serving=True), now_s=HEARTBEAT_S)
    assert reporter.starts == 2


class Listener(Reporter):
    """A reporting process that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(None, lambda *_, **__: None)
        self.told: list[Message] = []

    def send(self, message: Message) -> None:
        self.told.append(message)


@pytest.fixture
def told() -> Listener:
    return Listener()


@pytest.fixture
def ledger(told: Listener) -> Ledger:
    return Ledger(lambda *_, **__: None, told, Notifier(), "1.0")


def test_a_call_is_told_with_how_long_it_waited_and_how_long_it_took(
    told: Listener, ledger: Ledger
) -> None:
    ledger.came(7, 10.0)
    ledger.begun(7, 10.5)
    answer = {
        "status": 1,
        "code": 101,
        "verb": "ADD",
        "mover": "native",
        "events": [],
        "happened": [],
    }
    ledger.answered(7, answer, 12.0)
    assert told.told == [CallEnded(Verb.ADD, Mover.NATIVE, "error-101", lasted_s=1.5, queued_s=0.5)]


def test_each_call_is_told_once_whatever_becomes_of_it(told: Listener, ledger: Ledger) -> None:
    for call, end in enumerate((ledger.fell_back, ledger.dropped)):
        ledger.came(call, 1.0)
        end(call, 3.0)
        ledger.fell_back(call, 4.0)
    ledger.refused()
    outcomes = [each.outcome for each in told.told if isinstance(each, CallEnded)]
    assert outcomes == [FELL_BACK, DROPPED, "error-11"]
    assert all(each.lasted_s is None for each in told.told if isinstance(each, CallEnded))


def test_what_a_look_has_found_is_told_and_what_needs_attention_logged_once(
    told: Listener,
) -> None:
    logged: list[str] = []
    ledger = Ledger(lambda _, event, **facts: logged.append(event), told, Notifier(), "1.0")
    need = {"device": "0000:c1:00.0", "holder": "c1/net1", "found": "missing"}
    report = {
        "look": {"missing": 1},
        "damaged": 2,
        "events": [["healed", "returned"]],
        "happened": [],
        "needs": [need],
    }
    for _ in range(3):
        ledger.looked(report)
    assert logged == ["needs-attention"]
    lost, *counted = told.told[:3]
    assert isinstance(lost, Happened)
    assert (lost.what, lost.subject) == (Happening.LOST, "0000:c1:00.0")
    assert counted == [Attachments({Condition.MISSING: 1}, damaged=2), Healed(Condition.RETURNED)]
    assert [each for each in told.told if isinstance(each, Happened)] == [lost]
    ledger.looked({**report, "needs": []})
    ledger.looked(report)
    assert logged == ["needs-attention"] * 2
