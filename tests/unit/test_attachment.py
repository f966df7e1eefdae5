"""The record of a held device."""

from ipaddress import ip_interface

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.host import Netns, NetnsId
from amdcni.core.spec import Result
from amdcni.testing import strategies as some


@given(some.netns_refs, some.hosts, st.booleans())
def test_a_netns_is_alive_where_that_very_netns_is_found(
    ref: NetnsRef, found: Netns, same: bool
) -> None:
    there = attrs.evolve(found, id=ref.id) if same else found
    assert ref.is_alive_in(there) == there.id.is_same(ref.id)
    assert ref.is_alive_in(there) or not same
    assert not ref.is_alive_in(None)


@given(some.netns_refs, some.hosts)
def test_another_netns_at_the_same_path_does_not_bring_a_netns_back(
    ref: NetnsRef, found: Netns
) -> None:
    for other in (NetnsId(ref.id.dev, ref.id.inode + 1), NetnsId(ref.id.dev + 1, ref.id.inode)):
        assert not ref.is_alive_in(attrs.evolve(found, path=ref.path, id=other))


@given(some.attachments, st.integers(0, 2**33))
def test_time_since_a_capture_is_never_negative(record: Attachment, now_s: int) -> None:
    assert record.elapsed_s(now_s) >= 0
    assert record.elapsed_s(record.read_at_s + now_s) == now_s


@given(some.attachments)
def test_a_record_has_the_name_on_the_host_if_there_was_a_netdev(record: Attachment) -> None:
    expected = None if record.captured is None else record.captured.ifname
    assert record.host_ifname == expected


@given(some.attachments)
def test_people_see_the_pod_or_what_crictl_shows_of_the_container(record: Attachment) -> None:
    pod, container = f"pod {record.pod}", f"container {record.id.container_id[:13]}"
    assert record.lent_to == (container if record.pod is None else pod)


@given(some.attachments)
def test_the_host_gets_back_all_captured_addresses(record: Attachment) -> None:
    captured = () if record.captured is None else record.captured.addresses
    assert [ip_interface(text) for text in record.host_addresses] == [
        address.interface for address in captured
    ]


@given(some.attachments, some.results, st.none() | st.integers(1, 99))
def test_the_end_of_an_add_changes_nothing_that_was_captured(
    record: Attachment, result: Result, pod_ifindex: int | None
) -> None:
    after = record.attached(result, pod_ifindex)
    assert (after.phase, after.result, after.pod_ifindex) == (Phase.ATTACHED, result, pod_ifindex)
    before = (record.phase, record.result, record.pod_ifindex)
    assert attrs.evolve(after, phase=before[0], result=before[1], pod_ifindex=before[2]) == record


@given(some.attachments, some.attachments)
def test_a_netdev_that_is_to_go_to_its_pod_again_has_no_ifindex_there_until_it_has(
    record: Attachment, other: Attachment
) -> None:
    after = attrs.evolve(record, pod_ifindex=7).reattaching(other.captured)
    assert after == attrs.evolve(
        record, phase=Phase.ATTACHING, captured=other.captured, pod_ifindex=None
    )


@given(some.attachments)
def test_the_start_of_a_release_changes_only_the_phase(record: Attachment) -> None:
    after = record.detaching()
    assert after.phase is Phase.DETACHING
    assert attrs.evolve(after, phase=record.phase) == record
    assert after.detaching() == after


@given(some.attachments)
def test_a_record_is_a_value(record: Attachment) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(record, "phase", Phase.ATTACHED)  # noqa: B010
