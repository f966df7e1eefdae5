"""Steps that tell other plugins that the attachment ends."""

import attrs

from amdcni.core.attachment import Attachment


@attrs.frozen
class ReleasePlugins:
    """The delegate with its IPAM plugin, or that plugin alone, knows that the attachment ends.

    If not `required`, a refusal is reported and the record does not wait for it.  `limit_s` is how
    many seconds a plugin may run; None means the usual limit.
    """

    record: Attachment
    required: bool = True
    limit_s: float | None = None

    def describe(self) -> str:
        """The step in words."""
        return f"tell the plugins that {self.record.id.in_short} ends"


@attrs.frozen
class ReleaseIpam:
    """The configuration's IPAM plugin, if it has one, has been asked to release its addresses.

    That is all that can be done for an attachment of an earlier boot.  A refusal is reported, and
    the record does not wait for it.  But a plugin that may run for no more than `limit_s` seconds
    has had no fair chance, so its refusal is then a failure.
    """

    record: Attachment
    limit_s: float | None = None

    def describe(self) -> str:
        """The step in words."""
        return f"let the IPAM plugin release the addresses of {self.record.id.in_short}"


FarewellStep = ReleasePlugins | ReleaseIpam
