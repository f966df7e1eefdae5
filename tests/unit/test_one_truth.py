"""Whatever has become of the NICs of a node, all commands, the agent's look and its metrics agree.

Each drawn node has four NICs and two state folders.  What every output says is read from its own
text and JSON, and then compared with what the others say.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from amdcni.cli import attachments, check, devices, doctor, heal, show, status
from amdcni.cli.columns import Row
from amdcni.cli.devices import find_records
from amdcni.cli.listing import Listing
from amdcni.core.condition import Condition
from amdcni.core.diagnosis import Finding, Verdict
from amdcni.core.errors import AmdcniError
from amdcni.core.names import PciAddress
from amdcni.core.nics import BusNic, Port
from amdcni.core.policy import Policy
from amdcni.core.request import DEFAULT_DATA_DIR, LogLevel
from amdcni.core.spec import Verb
from amdcni_agent.events import Heard
from amdcni_agent.ledger import Ledger
from amdcni_agent.looks import look_around
from amdcni_agent.messages import Attachments
from amdcni_agent.metrics import Metrics
from tests.unit.fake_folders import FakeOpenNode
from tests.unit.fake_machine import Disk, Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_node import Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask
from tests.unit.four_nics import BOOT, NICS, TWIN, A, B, C, V, booted, config_of

OTHER: Final = "/var/lib/cni/amd-host-device-2"
ELSEWHERE: Final = "/run/netns/elsewhere"


# ---- a node


@attrs.define(eq=False)
class Nodes:
    """A machine, its NICs, and what may happen to each."""

    machine: Machine
    links: dict[str, Link]
    folders: dict[str, str]

    def path(self, device: str) -> str:
        return f"/run/netns/cni-{NICS.index(device)}"

    def container(self, device: str) -> str:
        return f"{NICS.index(device)}" * 64

    def lend(self, device: str, kill_at: int | None = None) -> None:
        kernel = self.machine.kernel
        if self.path(device) not in kernel.paths:
            kernel.make_netns(self.path(device))
        config = config_of(device, dataDir=self.folders[device])
        self._ask(Verb.ADD, device, {**config, "ipam": HOST_LOCAL}, kill_at)

    def delete(self, device: str, kill_at: int | None = None) -> None:
        config = config_of(device, dataDir=self.folders[device], ipam=HOST_LOCAL)
        self._ask(Verb.DEL, device, config, kill_at)

    def _ask(
        self, verb: Verb, device: str, config: Mapping[str, object], kill_at: int | None
    ) -> None:
        args = f"K8S_POD_NAMESPACE=ml;K8S_POD_NAME=trainer-{NICS.index(device)}"
        if device == C:
            args = ""  # Not every runtime names pods.
        with suppress(AmdcniError, Killed):
            ask(
                self.machine,
                verb,
                config,
                container=self.container(device),
                netns=self.path(device),
                args=args,
                kill_at=kill_at,
            )
        self.machine.locks.clear()

    # ---- what happens

    def a_del_is_killed(self, device: str, moment: int) -> None:
        self.delete(device, kill_at=moment)

    def a_del_waits_for_a_plugin(self, device: str, _: int) -> None:
        self.machine.plugins.troubles = [Trouble("host-local", Verb.DEL)]
        self.delete(device)

    def its_pod_dies(self, device: str, _: int) -> None:
        space = self.machine.kernel.paths.get(self.path(device))
        if space is not None:
            self.machine.kernel.destroy_netns(space)

    def its_pod_hides(self, device: str, _: int) -> None:
        self.machine.kernel.paths.pop(self.path(device), None)

    def it_is_moved_elsewhere(self, device: str, _: int) -> None:
        kernel, link = self.machine.kernel, self.links[device]
        there = kernel.paths.get(ELSEWHERE)
        if there is not None and self._exists(link) and link.space not in (kernel.host, there):
            kernel.move(link, there, f"rail{NICS.index(device)}")

    def somebody_brings_it_home(self, device: str, _: int) -> None:
        link = self.links[device]
        away = link.space is not self.machine.kernel.host
        if away and self._exists(link) and "home0" not in self.machine.kernel.host.names:
            self.machine.kernel.move(link, self.machine.kernel.host, "home0")

    def it_is_unplugged(self, device: str, _: int) -> None:
        if device in self.machine.kernel.functions:
            self.machine.kernel.unplug(device)

    def it_is_replaced(self, device: str, _: int) -> None:
        if device in self.machine.kernel.functions:
            self.machine.kernel.unplug(device)
            function = self.machine.kernel.plug(device, f"new{NICS.index(device)}")
            self.links[device] = function.links[0]

    def it_is_reset(self, device: str, _: int) -> None:
        if device in self.machine.kernel.functions:
            self.machine.kernel.reset(device)

    def a_stranger_takes_its_name(self, device: str, moment: int) -> None:
        name = BOOT[device][0]
        if name not in self.machine.kernel.host.names:
            alike = moment % 2 == 0
            kind = self.links[device].kind if alike else "dummy"
            self.machine.kernel.add_link(name, kind=kind).mac = self.links[device].mac

    def its_record_is_damaged(self, device: str, _: int) -> None:
        for disk in self._disks(device):
            disk.files[device_key(device, disk.files)] = b"{"

    def its_record_is_set_aside(self, device: str, _: int) -> None:
        for disk in self._disks(device):
            key = device_key(device, disk.files)
            disk.aside.append((key, disk.files.pop(key)))

    def its_record_is_of_a_newer_version(self, device: str, _: int) -> None:
        for disk in self._disks(device):
            key = device_key(device, disk.files)
            with suppress(ValueError):
                disk.files[key] = json.dumps({**json.loads(disk.files[key]), "format": 99}).encode()

    def another_folder_gets_its_record_too(self, device: str, _: int) -> None:
        """As when a node was restored from a backup; the older record is of another container."""
        for disk in self._disks(device):
            key = device_key(device, disk.files)
            with suppress(ValueError):
                older = json.loads(disk.files[key])
                older["boot_id"] = "boot-0"
                older["id"]["containerID"] = "f" * 64
                other = self.machine.other_disks[OTHER]
                if disk is not other and key not in other.files:
                    other.files[key] = json.dumps(older).encode()
                    self.machine.disk.folders.add(OTHER)

    def a_call_works_on_it(self, device: str, _: int) -> None:
        self.machine.locks.add(device)

    def _disks(self, device: str) -> list[Disk]:
        """The folder that has a record of the device; nothing if one was damaged already."""
        disks = (self.machine.disk, *self.machine.other_disks.values())
        key = device_key(device, {key: b"" for disk in disks for key in disk.files})
        files = [disk.files[key] for disk in disks if key in disk.files]
        aside = [name for disk in disks for name, _ in disk.aside]
        if b"{" in files or key in aside or any(b'"format": 99' in each for each in files):
            return []
        return [disk for disk in disks if key in disk.files][:1]

    @staticmethod
    def _exists(link: Link) -> bool:
        return link in link.space.links


def device_key(device: str, files: Mapping[str, bytes]) -> str:
    return next((key for key in files if key.partition("@")[0] == device), device)


HAPPENINGS: Final[Sequence[Callable[[Nodes, str, int], None]]] = (
    Nodes.its_pod_dies,
    Nodes.it_is_moved_elsewhere,
    Nodes.its_pod_hides,
    Nodes.somebody_brings_it_home,
    Nodes.it_is_unplugged,
    Nodes.it_is_replaced,
    Nodes.it_is_reset,
    Nodes.a_stranger_takes_its_name,
    Nodes.a_del_is_killed,
    Nodes.a_del_waits_for_a_plugin,
    Nodes.its_record_is_damaged,
    Nodes.its_record_is_set_aside,
    Nodes.its_record_is_of_a_newer_version,
    Nodes.another_folder_gets_its_record_too,
    Nodes.a_call_works_on_it,
)

BEGINNINGS: Final = ("home", "lent", "lent", "an add is killed", "lent before the boot")


@attrs.frozen
class Story:
    """What happens to a node: how each NIC begins and in which folder, and what comes then."""

    mover: str
    has_cookies: bool
    plugins_fail: bool
    begun: tuple[tuple[str, str, str, int], ...]
    happenings: tuple[tuple[str, str, int], ...]


moments = st.integers(0, 60)
stories = st.builds(
    Story,
    mover=st.sampled_from(["delegate", "native"]),
    has_cookies=st.booleans(),
    plugins_fail=st.booleans(),
    begun=st.tuples(
        *(
            st.tuples(
                st.just(device),
                st.sampled_from(BEGINNINGS),
                st.sampled_from([DEFAULT_DATA_DIR, OTHER]),
                moments,
            )
            for device in NICS
        )
    ),
    happenings=st.lists(
        st.tuples(
            st.sampled_from([each.__name__ for each in HAPPENINGS]),
            st.sampled_from(NICS),
            moments,
        ),
        max_size=10,
    ).map(tuple),
)


def played(story: Story) -> Machine:
    """The node after all of that."""
    machine = Machine(mover=story.mover)
    machine.kernel.has_cookies = story.has_cookies
    machine.plugins.pool = tuple(f"10.9.0.{n}/24" for n in range(2, 8))
    FakeOpenNode(machine)._disk(OTHER)
    links = {device: booted(machine, device) for device in (*NICS, TWIN)}
    node = Nodes(machine, links, {device: folder for device, _, folder, _ in story.begun})
    earlier = [device for device, how, *_ in story.begun if how == "lent before the boot"]
    for device in earlier:
        node.lend(device)
    if earlier:
        machine.kernel.paths.clear()
        machine.kernel.reboot()
        for device in (*NICS, TWIN):
            links[device] = booted(machine, device)
    machine.kernel.make_netns(ELSEWHERE)
    for device, how, _, moment in story.begun:
        if how in ("lent", "an add is killed"):
            node.lend(device, None if how == "lent" else moment)
    for what, device, moment in story.happenings:
        getattr(node, what)(device, moment)
    machine.plugins.troubles = [Trouble("host-local", Verb.DEL)] if story.plugins_fail else []
    return machine


def told(
    *happenings: tuple[str, str], folder: str = DEFAULT_DATA_DIR, fails: bool = False
) -> Story:
    """A story in which every NIC was lent."""
    begun = tuple((device, "lent", folder, 0) for device in NICS)
    then = tuple((what, device, 0) for what, device in happenings)
    return Story("native", has_cookies=True, plugins_fail=fails, begun=begun, happenings=then)


MOVED_ON = told(("it_is_moved_elsewhere", A), ("it_is_moved_elsewhere", V))
LEFT_BEHIND = told(("it_is_moved_elsewhere", A), ("its_pod_dies", A))
REPLACED = told(("it_is_replaced", A), ("it_is_replaced", B))
UNPLUGGED_IN_USE = told(("it_is_unplugged", C), ("a_call_works_on_it", C))
RETURNED_IN_USE = told(("its_pod_dies", A), ("a_call_works_on_it", A))
WAITING = told(("its_pod_dies", A), ("its_pod_dies", C), fails=True)
TWICE = told(("another_folder_gets_its_record_too", A), ("its_pod_dies", A))
DAMAGED = told(("its_record_is_damaged", A), ("its_record_is_set_aside", B), folder=OTHER)
NEWER = told(
    ("another_folder_gets_its_record_too", A),
    ("its_record_is_of_a_newer_version", A),
    ("its_pod_dies", B),
)


def remembered(test: Callable[[Story], None]) -> Callable[[Story], None]:
    """The test with each story in which outputs have contradicted one another."""
    for each in (MOVED_ON, LEFT_BEHIND, REPLACED, UNPLUGGED_IN_USE, RETURNED_IN_USE):
        test = example(each)(test)
    for each in (WAITING, TWICE, DAMAGED, NEWER):
        test = example(each)(test)
    return test


# ---- what the outputs say


Which = tuple[str, str | None]
"""A device, and the container of the record if that can be read."""


@attrs.frozen
class Said:
    """What one output says of a record; None where it does not say."""

    found: str | None = None
    needs: bool | None = None
    words: str | None = None
    state: str | None = None
    holder: tuple[str, ...] | None = None
    orphan: bool | None = None
    place: str | None = None
    busy: bool | None = None


def options(**more: Any) -> argparse.Namespace:
    usual = {"data_dir": None, "namespace": None, "id": None, "dry_run": True}
    return argparse.Namespace(**{**usual, **more})


def cells(listing: Listing, *headings: str) -> Iterator[tuple[Row, tuple[str, ...]]]:
    at = [[each.heading for each in listing.columns].index(name) for name in headings]
    for row in listing.rows:
        yield row, tuple(str(row.cells[index]) for index in at)


COMMAND: Final = re.compile(r"(\d+) NICs? needs? somebody( to look)?: (amdcni .*)")


def commands_in(notes: Sequence[str]) -> list[str]:
    return [note for note in notes if COMMAND.fullmatch(note)]


def sentences_on(about: str, notes: Sequence[str]) -> list[str]:
    """What the notes say of a NIC."""
    return [note.removeprefix(f"{about}: ") for note in notes if note.startswith(f"{about}: ")]


def by_attachments(node: FakeOpenNode) -> tuple[dict[Which, Said], Listing]:
    """What `attachments` says, which all others are compared with."""
    listing = attachments.listing_of(node, options())
    headings = ("DEVICE", "NAME", "NAMESPACE", "POD", "STATE")
    said = {}
    for value, (_, (*holder, state)) in zip(listing.value, cells(listing, *headings), strict=True):
        device, name = value["device"], value["host_ifname"]
        about = device if name is None or device == f"@{name}" else f"{device} ({name})"
        about = device if device.endswith(f"@{name}") else about
        sentences = sentences_on(about, listing.notes)
        which = (device, value["container_id"])
        # Of several records of one device, only the words say which each sentence is about.
        (words,) = {each.words for each in sentences_of_show(node, which)}
        said[which] = Said(
            found=value["found"],
            needs=words in sentences,
            words=words,
            state=state,
            holder=tuple(holder),
            orphan=value["orphan"],
            place=value["in_netns"],
        )
    return said, listing


def sentences_of_show(node: FakeOpenNode, which: Which) -> list[Said]:
    return [said for each, said in by_show(node, which[0]).items() if each == which]


def by_show(node: FakeOpenNode, device: str) -> dict[Which, Said]:
    said = {}
    for known in show.find_meant(device, node):
        value = show.as_json(known)
        record = value["record"]
        container = None if record is None else record["id"]["containerID"]
        text = [*show.answer(known), *show.lines(known, (), everything=False)]
        line = next((each for each in text if each.startswith("  state ")), None)
        state, _, words = (
            ("unreadable", "", text[0].partition(": ")[2])
            if line is None
            else line.split(maxsplit=1)[1].partition(": ")
        )
        said[value["device"], container] = Said(
            found=value["found"], state=state, words=words, orphan=value["orphan"]
        )
    return said


def by_check(node: FakeOpenNode) -> dict[Which, Said]:
    listing = check.listing_of(node, options())
    said = {}
    rows = cells(listing, "DEVICE", "NAME", "NAMESPACE", "POD", "HEALTH")
    for value, (_, (*holder, health)) in zip(listing.value, rows, strict=True):
        assert (health == "faulty") == bool(value["problems"])
        said[value["device"], value["container_id"]] = Said(
            needs=bool(value["problems"]),
            words=value["problems"][0] if value["problems"] else None,
            holder=tuple(holder),
            busy=health == "busy",
        )
    return said


def by_heal(node: FakeOpenNode, *, dry_run: bool) -> tuple[dict[Which, Said], Listing]:
    listing = heal.heal(node, options(dry_run=dry_run))
    said = {}
    headings = ("DEVICE", "NAME", "NAMESPACE", "POD", "STATE")
    rows = list(cells(listing, *headings))
    for value, (_, (*holder, state)) in zip(listing.value[: len(rows)], rows, strict=True):
        said[value["device"], value["container_id"]] = Said(
            found=value["found"], state=state, holder=tuple(holder), busy=value["busy"]
        )
    for value in listing.value[len(rows) :]:
        said[value["device"], None] = Said(needs=True, words=value["failure"])
    return said, listing


def by_doctor(node: FakeOpenNode) -> list[Finding]:
    """What `doctor` says of each folder, as its own look at each has it."""
    found: list[Finding] = []
    for part in node.store.parts:
        alone = FakeOpenNode(node.machine, data_dir=part.path, alone=True)
        records = find_records(alone, part.path)
        found += doctor.judge_records(doctor.State(part.path, alone, records))
    return found


def by_devices(node: FakeOpenNode) -> tuple[dict[Which, Said], Listing]:
    seen = [
        BusNic(device, ports=tuple(map(Port, device.ifnames)))
        for each in node.machine.kernel.functions
        if (device := node.find_device(PciAddress.parse(each))) is not None
    ]
    records = find_records(node, DEFAULT_DATA_DIR)
    listing = devices.listing_of(node, seen, records, Policy(), None)
    said = {}
    headings = ("DEVICE", "NAME", "NAMESPACE", "POD", "STATE", "CONTAINER", "REMARKS")
    for _, (*holder, state, container, remarks) in cells(listing, *headings):
        said[holder[0], container or None] = Said(holder=tuple(holder), state=state, words=remarks)
    return said, listing


# ---- and whether they agree


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
