"""A call that is made while another one is at work."""

from collections.abc import Callable

import attrs

from tests.unit.fake_machine import Machine


@attrs.define(eq=False)
class Interloper:
    """A call that is made, from start to end, before look number `at` of another one.

    It is not made if it would have to wait for one of the locks that are held then.
    """

    machine: Machine
    act: Callable[[], object]
    at: int
    would_wait: Callable[[set[str]], bool]
    started: bool = False
    answers: list[object] = attrs.field(factory=list)
    """What the call answered, if it was made."""

    def look(self) -> None:
        self.at -= 1
        if self.at < 0 and not self.started:
            self.started = True
            if not self.would_wait(self.machine.locks):
                self.answers.append(self.act())
