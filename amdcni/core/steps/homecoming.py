"""Steps that bring a netdev back to the host as it was."""

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured, counted, summary
from amdcni.core.host import Interrupts


@attrs.frozen
class BringHome:
    """The netdev is on the host, under its own name or, if a stranger has that, a free one."""

    record: Attachment
    captured: Captured

    def describe(self) -> str:
        """The step in words."""
        return f"bring the NIC back to the host as {self.captured.ifname}"


@attrs.frozen
class RestoreConfiguration:
    """The netdev on the host has everything back that was captured and can still be restored."""

    record: Attachment
    captured: Captured

    def describe(self) -> str:
        """The step in words."""
        return f"restore {self.captured.ifname} with {', '.join(summary(self.captured))}"


@attrs.frozen
class RestoreInterrupts:
    """The device's interrupts go to the CPUs they went to, unless somebody assigns them anew.

    A failure is only reported: the netdev works without.
    """

    record: Attachment
    kept: Interrupts

    def describe(self) -> str:
        """The step in words."""
        return f"let {counted(len(self.kept.own), 'interrupt')} go to the same CPUs as before"


@attrs.frozen
class VerifyHome:
    """What the kernel shows of the netdev on the host agrees with the record."""

    record: Attachment
    captured: Captured

    def describe(self) -> str:
        """The step in words."""
        return f"compare {self.captured.ifname} with the record"


HomecomingStep = BringHome | RestoreConfiguration | RestoreInterrupts | VerifyHome
