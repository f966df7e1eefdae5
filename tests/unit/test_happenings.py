"""What of the log becomes a Kubernetes event, and in which words."""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import errors
from amdcni.core.condition import Condition
from amdcni_agent.events import Heard, messages_of
from amdcni_agent.happenings import (
    MAX_WORDS_BYTES,
    REFUSALS,
    Happened,
    Happening,
    Pod,
    find_happened,
    in_short,
    is_object_name,
)
from amdcni_agent.kube_events import ABOUT
from amdcni_agent.messages import encode, parse_message

ID = "8c1f0a7be2d94" + "7" * 51
FACTS: dict[str, object] = {
    "device": "0000:c1:00.0",
    "holder": f"{ID}/net1",
    "pod": "default/workload",
    "pod_uid": "0b0b0b0b-0000-4000-8000-000000000001",
}
POD = Pod("default", "workload", "0b0b0b0b-0000-4000-8000-000000000001")
NIC = "0000:c1:00.0 (net1 of container 8c1f0a7be2d94)"


@pytest.mark.parametrize(
    ("event", "facts", "what", "words"),
    [
        (
            "healed",
            {"found": Condition.RETURNED, "phase": "attached"},
            Happening.HEALED,
            f"{NIC}: it is on the host: its pod is gone or has lost it; it was returned",
        ),
        (
            "reattached",
            {},
            Happening.REATTACHED,
            f"{NIC}: it was reset, and its pod, which lives, has lost it; it was attached again",
        ),
        (
            "not-healed",
            {"reason": f"'/run/{ID}' has\ngone"},
            Happening.NOT_HEALED,
            f"{NIC}: not healed: '/run/8c1f0a7be2d94' has?gone",
        ),
        (
            "needs-attention",
            {"found": "missing"},
            Happening.LOST,
            f"{NIC}: it is neither on the host nor in its pod; amdcni doctor says what to do",
        ),
        (
            "needs-attention",
            {"found": "missing", "in_netns": "/run/netns/x", "in_netns_as": "rail7"},
            Happening.LOST,
            f"{NIC}: it is in /run/netns/x as rail7; bring it out: "
            "nsenter --net=/run/netns/x ip link set rail7 netns $$; then amdcni heal",
        ),
        (
            "needs-attention",
            {"found": "held"},
            Happening.LOST,
            f"{NIC}: its pod lives, but has it in no network namespace that can be seen; "
            "amdcni doctor says what to do",
        ),
        (
            "needs-attention",
            {"found": "unplugged"},
            Happening.UNPLUGGED,
            f"{NIC}: it is not in the machine, or another card is in its place; "
            "once it is plugged in again, `amdcni heal` restores everything",
        ),
        (
            "unplugged",
            {},
            Happening.UNPLUGGED,
            f"{NIC}: it is not in the machine, or another card is in its place; "
            "once it is plugged in again, `amdcni heal` restores everything",
        ),
        (
            "destroyed",
            {"ifname": "eth1", "addresses": "10.0.0.0/31"},
            Happening.DESTROYED,
            f"{NIC}: it was made by software, and the kernel destroyed it with its pod; "
            "`amdcni heal` forgets it: create the netdev again, as the boot does; "
            "the host had eth1 10.0.0.0/31",
        ),
        (
            "name-taken",
            {"was": "eth1", "now": "eth1-1"},
            Happening.NAME_TAKEN,
            f"{NIC}: another netdev on the host has its name, eth1; it is called eth1-1 now",
        ),
        (
            "not-restored",
            {"aspect": "routes"},
            Happening.NOT_RESTORED,
            f"{NIC}: it is on the host, but not as it was: routes",
        ),
        (
            "not-restored",
            {"aspect": "ethtool", "what": "rx ring is 64, was 256", "reason": "Invalid argument"},
            Happening.NOT_RESTORED,
            f"{NIC}: it is on the host, but not as it was: rx ring is 64, was 256",
        ),
        (
            "salvaged",
            {},
            Happening.SALVAGED,
            f"{NIC}: it had no record, and got back to the host what it had in the pod",
        ),
    ],
)
def test_an_event_about_a_nic_names_it_and_its_pod(
    event: str, facts: dict[str, object], what: Happening, words: str
) -> None:
    expected = Happened(what, "0000:c1:00.0", words, POD)
    assert find_happened(event, {**FACTS, **facts}) == expected


def test_what_cannot_be_saved_and_a_damaged_record_are_of_the_node() -> None:
    facts = {"device": "0000:c1:00.0", "what": "the MPLS route 100"}
    words = "0000:c1:00.0: the MPLS route 100 will not come back after the pod"
    assert find_happened("not-saved", facts) == Happened(Happening.NOT_SAVED, "0000:c1:00.0", words)
    damaged = {"path": "/var/lib/cni/x.damaged", "reason": "it is not JSON"}
    words = "the record /var/lib/cni/x.damaged is damaged: it is not JSON"
    assert find_happened("record-damaged", damaged) == Happened(
        Happening.RECORD_DAMAGED, "/var/lib/cni/x.damaged", words
    )


def test_a_refused_add_is_about_the_name_in_the_pod_and_never_its_own_container() -> None:
    call = {**FACTS, "verb": "ADD", "error": "PolicyDenies", "reason": "rule 2 denies it"}
    words = "ADD of net1 was refused: rule 2 denies it"
    assert find_happened("failed", call) == Happened(Happening.REFUSED, "net1", words, POD)


@pytest.mark.parametrize("verb", ["DEL", "CHECK", "GC", "STATUS", None])
def test_only_an_add_is_refused(verb: str | None) -> None:
    assert find_happened("failed", {**FACTS, "verb": verb, "error": "DeviceHeld"}) is None


def test_refusals_are_about_the_nic_and_not_about_the_call_or_the_node() -> None:
    classes = {
        *{"DeviceNotFound", "DeviceAmbiguous", "DeviceProtected", "PolicyDenies", "IfnameTaken"},
        *{"DeviceHeld", "DeviceBusy", "NetdevLost", "RestoreIncomplete"},
        *{"RdmaImmovable", "RdmaLost"},
    }
    assert classes == REFUSALS
    assert vars(errors).keys() >= REFUSALS


LOST = (Condition.MISSING, Condition.HELD, Condition.UNPLUGGED)


@pytest.mark.parametrize("found", [each for each in Condition if each not in LOST])
def test_what_healing_sees_to_is_not_called_lost(found: Condition) -> None:
    assert find_happened("needs-attention", {**FACTS, "found": found.value}) is None


@pytest.mark.parametrize("event", ["outdated", "plugin-due", "taken-over", "lost", "refused", ""])
def test_other_lines_of_the_log_are_no_events(event: str) -> None:
    assert find_happened(event, FACTS) is None


@pytest.mark.parametrize(
    "pod",
    ["", "/", "default", "default/", "../etc", "a/b/c", "A/b", "a/B", "a/b?c", "a" * 64 + "/b"],
)
def test_what_can_be_no_pod_is_posted_on_the_node(pod: str) -> None:
    happened = find_happened("healed", {**FACTS, "found": "returned", "pod": pod})
    assert happened is not None
    assert happened.pod is None


def test_a_uid_that_can_be_none_is_left_out() -> None:
    facts = {**FACTS, "found": "returned", "pod_uid": "{}"}
    happened = find_happened("healed", facts)
    assert happened is not None
    assert happened.pod == Pod("default", "workload")


@given(
    st.text(max_size=3000) | st.text("é𝄞", min_size=900), st.sampled_from(["failed", "salvaged"])
)
def test_whatever_the_words_they_fit(text: str, event: str) -> None:
    facts = {**FACTS, "verb": "ADD", "error": "DeviceHeld", "reason": text, "device": text}
    happened = find_happened(event, facts)
    assert happened is not None
    assert len(happened.words.encode()) <= MAX_WORDS_BYTES
    assert parse_message(encode(happened)) == happened


def test_ids_of_containers_are_as_short_as_crictl_shows_them_and_others_stay() -> None:
    assert in_short(f"held by {ID} as") == "held by 8c1f0a7be2d94 as"
    assert in_short(f"{ID}7") == f"{ID}7"
    assert in_short("cni-1b2c3d4e") == "cni-1b2c3d4e"


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert in_short(os.fsdecode(b"net\xff1")) == "net?1"


def test_every_happening_has_a_reason_of_its_own() -> None:
    assert set(ABOUT) == set(Happening)
    assert len({about.reason for about in ABOUT.values()}) == len(ABOUT)


@given(st.lists(st.tuples(st.sampled_from(["healed", "salvaged", "odd"]), st.text(max_size=9))))
def test_a_worker_reports_what_happened_once_each_and_not_too_much(
    said: list[tuple[str, str]],
) -> None:
    heard = Heard()
    for event, device in said:
        heard(event, {**FACTS, "device": device, "found": "returned"})
    told: list[Any] = [each for each in messages_of(heard.report) if isinstance(each, Happened)]
    expected = [device for event, device in said if event != "odd"]
    assert [each.subject for each in told] == [in_short(each) for each in expected][:32]


@pytest.mark.parametrize("name", ["node-1", "a.b-c.d", "1", "a" * 253])
def test_a_node_may_be_called_so(name: str) -> None:
    assert is_object_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a..b", "A", "a_b", "a/b", "a" * 254, "a\n"])
def test_a_node_may_not_be_called_so(name: str) -> None:
    assert not is_object_name(name)
