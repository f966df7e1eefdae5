"""`amdcni release` says only what is true."""

import pytest
from hypothesis import given

from amdcni.cli.release import Released, as_json, sentence_on
from amdcni.core.attachment import Attachment
from amdcni.testing import strategies as some
from amdcni.verbs.giving_back import Returned

ends = pytest.mark.parametrize("returned", [None, *Returned])


def released(record: Attachment, returned: Returned | None) -> Released:
    return Released(record, returned, "the disk is full" if returned is None else None)


@ends
@given(record=some.attachments)
def test_only_a_restored_nic_is_said_to_be_the_hosts_again(
    returned: Returned | None, record: Attachment
) -> None:
    said = sentence_on(released(record, returned))
    restored = returned is Returned.BACK and record.captured is not None
    assert ("is the host's again" in said) == restored
    assert str(record.key) in said
    assert ("record stays" in said) == (returned in (None, Returned.UNPLUGGED))


@ends
@given(record=some.attachments)
def test_a_device_counts_as_released_once_its_attachment_no_longer_has_it(
    returned: Returned | None, record: Attachment
) -> None:
    printed = as_json(released(record, returned))
    assert printed["released"] == (returned not in (None, Returned.UNPLUGGED, Returned.ANOTHERS))
    assert (printed["result"] is None) == (printed["failure"] is not None)
