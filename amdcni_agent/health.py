"""Whether the agent is healthy and ready, judged by when its main process last spoke: pure."""

from typing import Final

import attrs

HEARTBEAT_S: Final = 10.0
"""How often the main process sends an `AgentState` when nothing happens."""

SILENCE_S: Final = 30.0
"""A main process that has said nothing for so long is stopped or hangs."""


@attrs.frozen
class Health:
    """When the main process last said what it does, by the monotonic clock, and if it serves."""

    heard_s: float
    is_serving: bool = False

    def age_s(self, now_s: float) -> float:
        """How long ago the main process last spoke."""
        return max(0.0, now_s - self.heard_s)

    def find_illness(self, now_s: float) -> str | None:
        """Why the agent is not healthy."""
        age_s = self.age_s(now_s)
        if age_s < SILENCE_S:
            return None
        return f"the main process has given no sign of life for {age_s:.0f} s"

    def find_hindrance(self, now_s: float) -> str | None:
        """Why the agent is not ready for calls."""
        illness = self.find_illness(now_s)
        if illness is not None or self.is_serving:
            return illness
        return "this agent does not serve: it is starting or ending, or another one serves"
