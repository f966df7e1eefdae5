"""What the agent says of itself, and when."""

from amdcni_agent.health import HEARTBEAT_S
from amdcni_agent.ledger import Doing, Ledger
from amdcni_agent.messages import Message
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
