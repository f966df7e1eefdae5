"""`amdcni release` says only what is true."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from amdcni.cli.release import Released, as_json, sentence_on
from amdcni.healing import Returned
from amdcni.testing import strategies as some

released = st.builds(Released, some.attachments, st.sampled_from(Returned), st.none()) | st.builds(
    Released, some.attachments, st.none(), st.just("the disk is full")
)


@given(released)
def test_only_what_was_restored_is_called_the_hosts_again(each: Released) -> None:
    said = sentence_on(each)
    restored = each.returned is Returned.BACK and each.record.captured is not None
    assert ("is the host's again" in said) == restored
    assert str(each.record.key) in said
    assert ("record stays" in said) == (each.returned in (None, Returned.UNPLUGGED))


@given(released)
def test_a_device_is_released_once_its_attachment_has_it_no_more(each: Released) -> None:
    told = as_json(each)
    kept = (None, Returned.UNPLUGGED, Returned.ANOTHERS)
    assert told["released"] == each.is_done == (each.returned not in kept)
    assert (told["result"] is None) == (told["failure"] is not None)
    assert as_json(attrs.evolve(each)) == told
