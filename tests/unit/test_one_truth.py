"""Whatever has become of the NICs of a node, all commands, the agent's look and its metrics agree.

Each drawn node has four NICs and two state folders.  What every output says is read from its own
text and JSON, and then compared with what the others say.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import event, given

from amdcni.cli import status
from amdcni.cli.listing import Listing
from amdcni.core.condition import Condition
from amdcni.core.diagnosis import Finding, Verdict
from amdcni.core.request import LogLevel
from amdcni_agent.events import Heard
from amdcni_agent.ledger import Ledger
from amdcni_agent.looks import look_around
from amdcni_agent.messages import Attachments
from amdcni_agent.metrics import Metrics
from tests.unit.fake_folders import FakeOpenNode
from tests.unit.fake_machine import Machine
from tests.unit.four_nics import A, B, C, V
from tests.unit.outputs import (
    Said,
    Which,
    by_attachments,
    by_check,
    by_devices,
    by_doctor,
    by_heal,
    by_show,
    commands_in,
)
from tests.unit.stories import (
    ELSEWHERE,
    LEFT_BEHIND,
    MOVED_ON,
    NEWER,
    REPLACED,
    RETURNED_IN_USE,
    UNPLUGGED_IN_USE,
    WAITING,
    Story,
    played,
    remembered,
    stories,
)


def require_agreement(truth: Mapping[Which, Said], said: Mapping[Which, Said], who: str) -> None:
    """Every output says the same of a record as `attachments`, as far as it says anything."""
    for which, each in said.items():
        told = attrs.asdict(each, filter=lambda _, value: value is not None)
        known = attrs.asdict(truth[which])
        assert {name: known[name] for name in told} == told, (who, which)


def require_one_truth(machine: Machine) -> dict[Which, Said]:
    """All outputs that only look agree, and change nothing; what they say."""
    before = machine.picture()
    node = FakeOpenNode(machine)
    truth, listing = by_attachments(node)
    aside = [str(key) for key, _ in node.store.set_aside()]
    needy = Counter(device for (device, _), said in truth.items() if said.needs)
    waiting = needy + Counter(aside)
    others = ("No NIC is lent", "No record says")
    sentences = [note for note in listing.notes if not note.startswith(others)]
    assert len(sentences) - len(commands_in(sentences)) == waiting.total()
    told = {which: said for which, said in truth.items() if said.found is not None}
    for device in {device for device, _ in truth}:
        require_agreement(truth, by_show(node, device), "show")
    checked = by_check(node)
    assert checked.keys() == {*truth, *((device, None) for device in aside)}
    require_agreement(truth, {w: attrs.evolve(checked[w], busy=None) for w in truth}, "check")
    foreseen, healing = by_heal(node, dry_run=True)
    assert foreseen.keys() == {*truth, *((device, None) for device in aside)}
    for which in told:
        require_agreement(truth, {which: attrs.evolve(foreseen[which], busy=None)}, "heal")
        # Nothing is said to be at work by one and not by another.
        assert foreseen[which].busy == checked[which].busy
    _require_doctor(by_doctor(node), truth, aside)
    reported = status.listing_of(node, None, (), None)
    _require_status(reported, truth, waiting)
    listed, everything = by_devices(node)
    _require_devices(listed, everything, truth)
    assert commands_in(everything.notes) == commands_in(listing.notes)
    assert commands_in(reported.notes) == commands_in(listing.notes)
    for each in (listing, reported, everything, healing):
        said_so = sum(int(note.split()[0]) for note in commands_in(each.notes))
        assert said_so == waiting.total()
    assert bool(reported.status == 1) == bool(waiting)
    for each in (listing, reported, everything, healing):
        require_short_ids(each.notes)
    require_short_ids(each.says for each in by_doctor(node))
    assert machine.picture() == before
    return truth


def require_short_ids(sentences: Iterable[str]) -> None:
    """People read 13 digits of a container ID; programs get all."""
    assert [each for each in sentences if re.search(r"\b[0-9a-f]{14,}\b", each)] == []


def _require_doctor(
    findings: Sequence[Finding], truth: Mapping[Which, Said], aside: Sequence[str]
) -> None:
    about = [each for each in findings if re.match(r"\S+ of (pod ml/|container )", each.says)]
    failed = [each for each in findings if each.verdict is Verdict.FAILED]
    waiting = [said for said in truth.values() if said.needs]
    assert len(failed) == len(waiting) + len(aside)
    for each in about:
        device, _, words = each.says.partition(" of ")
        words = words.partition(": ")[2]
        assert words in [said.words for (named, _), said in truth.items() if named == device]
        assert (each.verdict is Verdict.FAILED) == (each.remedy is not None)


def _require_status(reported: Listing, truth: Mapping[Which, Said], waiting: Counter[str]) -> None:
    found = Counter(said.found for said in truth.values() if said.found is not None)
    assert reported.value["attachments"] == {each.value: found[each.value] for each in Condition}
    needs = reported.value["needs"]
    assert Counter(need["device"] for need in needs) == waiting
    for (device, _), said in truth.items():
        if said.needs:
            told = [need["words"] for need in needs if need["device"] == device]
            assert any(each.startswith(str(said.words)) for each in told)
    lent = Counter((said.state, said.words) for said in truth.values() if said.found is not None)
    for (state, words), number in lent.items():
        assert f"{number} lent, {state}: {words}" in reported.notes


def _require_devices(
    listed: Mapping[Which, Said], everything: Listing, truth: Mapping[Which, Said]
) -> None:
    for (device, container), said in truth.items():
        row = listed.get((device, container))
        if row is None:
            # What is on no bus, or no longer in the machine, has no row.
            assert f"There is also a record of {device}: amdcni show {device}" in everything.notes
            continue
        assert (row.state, row.holder) == (said.state, said.holder)
        if said.needs:
            assert str(said.words) in str(row.words)
    for nic in everything.value:
        for holder in nic["held"]:
            assert holder["found"] == truth[nic["device"], holder["container_id"]].found


class Quiet:
    """What takes the place of the agent's reporting process and of its service manager."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)


def require_agent_agrees(machine: Machine) -> None:
    """What the agent's look leaves is what `attachments` shows then, in its log and metrics too."""
    node = FakeOpenNode(machine, looks_only=False)
    with machine.running(node):
        report = look_around(node)
    truth = require_one_truth(machine)
    found = Counter(said.found for said in truth.values() if said.found is not None)
    assert +Counter(report["look"]) == found
    waiting = [(w, said) for w, said in truth.items() if said.needs and said.found is not None]
    assert sorted((need["device"], need["found"]) for need in report["needs"]) == sorted(
        (device, said.found) for (device, _), said in waiting
    )
    for (device, _), said in waiting:
        needs = [need for need in report["needs"] if need["device"] == device]
        assert said.place in [need.get("in_netns") for need in needs]
    logged: list[tuple[str, str]] = []

    def log(_: LogLevel, event: str, **facts: object) -> None:
        logged.append((str(facts["device"]), str(facts["found"])))

    reporter = Quiet()
    Ledger(log, reporter, reporter, "1").looked({**report, **Heard().report})  # type: ignore[arg-type]
    assert set(logged) == {(device, said.found) for (device, _), said in waiting}
    (counts,) = (each for each in reporter.sent if isinstance(each, Attachments))
    metrics = Metrics()
    metrics.take(counts)
    text = metrics.text(0).decode()
    for condition in Condition:
        assert f'amdcni_attachments{{condition="{condition}"}} {found[condition]:.1f}' in text
    assert f"amdcni_damaged_records {len(node.store.set_aside()):.1f}" in text


@remembered
@given(stories)
def test_all_outputs_say_the_same_of_every_nic(story: Story) -> None:
    truth = require_one_truth(played(story))
    for said in truth.values():
        event(f"{said.found}: {said.state}{' elsewhere' if said.place else ''}")


@remembered
@given(stories)
def test_all_outputs_still_agree_after_the_agent_has_looked(story: Story) -> None:
    require_agent_agrees(played(story))


@remembered
@given(stories)
def test_heal_does_what_its_dry_run_foresees_and_all_outputs_agree_on_the_rest(
    story: Story,
) -> None:
    machine = played(story)
    foreseen, _ = by_heal(FakeOpenNode(machine), dry_run=True)
    node = FakeOpenNode(machine, looks_only=False)
    with machine.running(node):
        done, _ = by_heal(node, dry_run=False)
    assert {which: said.found for which, said in done.items() if said.found} == {
        which: said.found for which, said in foreseen.items() if said.found
    }
    require_one_truth(machine)


@pytest.mark.parametrize(
    ("story", "device", "found", "state", "needs", "place"),
    [
        (MOVED_ON, A, "held", "attached", True, ELSEWHERE),
        (MOVED_ON, V, "held", "attached", True, ELSEWHERE),
        (MOVED_ON, B, "held", "attached", False, None),
        (LEFT_BEHIND, A, "missing", "orphan", True, ELSEWHERE),
        (REPLACED, A, "unplugged", "orphan", True, None),
        (REPLACED, B, "held", "attached", True, None),
        (UNPLUGGED_IN_USE, C, "unplugged", "busy", False, None),
        (RETURNED_IN_USE, A, "returned", "busy", False, None),
        (WAITING, C, "returned", "orphan", True, None),
        (NEWER, B, "returned", "orphan", True, None),
    ],
)
def test_what_they_agree_on_is_what_has_happened(
    story: Story, device: str, found: str, state: str, needs: bool, place: str | None
) -> None:
    truth = require_one_truth(played(story))
    (said,) = (each for (named, _), each in truth.items() if named == device)
    assert (said.found, said.state, said.needs, said.place) == (found, state, needs, place)
    assert said.orphan == (state == "orphan")
    if place is not None:
        assert str(said.words).startswith(f"it is in {place} as rail")
