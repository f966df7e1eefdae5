"""Which CPUs the interrupts of a device may go to: put back unless the host assigns them anew.

Interrupts are the host's, whoever has the netdev.  A program such as irqbalance, a container
runtime or an administrator may have assigned them anew while a pod had the NIC, for reasons that
were not there before.  Then the present choice is better than what was captured hours ago.  The
kernel does not show such a program, but its work: interrupts of other devices are assigned anew,
too.
"""

import attrs

from amdcni.core.host import Interrupts, Values


@attrs.frozen
class SetInterrupt:
    """An interrupt that has to go to the CPUs `cpus`, a list such as `0-3,8`."""

    number: str
    cpus: str
    is_now: str

    def describe(self) -> str:
        """The difference."""
        return f"interrupt {self.number} goes to the CPUs {self.is_now}, went to {self.cpus}"


def due(kept: Interrupts, seen: Interrupts) -> tuple[SetInterrupt, ...]:
    """The interrupts that do not go to the CPUs they went to; none if others have changed, too.

    A driver may have got other numbers meanwhile, but uses them in the same order.
    """
    others = kept.others.items()
    if any(seen.others.get(number, cpus) != cpus for number, cpus in others):
        return ()
    pairs = zip(_in_order(kept.own), _in_order(seen.own), strict=False)
    return tuple(
        SetInterrupt(number, str(cpus), str(is_now))
        for (_, cpus), (number, is_now) in pairs
        if cpus != is_now
    )


def _in_order(interrupts: Values) -> list[tuple[str, int | str]]:
    return sorted(interrupts.items(), key=lambda each: int(each[0]))
