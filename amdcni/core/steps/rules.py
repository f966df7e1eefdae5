"""The step for the policy rules of a netdev that is back on the host."""

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured, counted
from amdcni.core.rules import NOUN


@attrs.frozen
class RestoreRules:
    """The policy rules of the netdev are on the host, set by whoever owns them or by us.

    An owner that has removed them while the netdev was away is given a moment to set them again.
    """

    record: Attachment
    captured: Captured

    def describe(self) -> str:
        """The step in words."""
        count = len(self.captured.rules)
        are, them = ("is", "it") if count == 1 else ("are", "them")
        rules = f"{counted(count, NOUN)} of {self.captured.ifname}"
        return f"see that {rules} {are} there again, or put {them} back"


RuleStep = RestoreRules
