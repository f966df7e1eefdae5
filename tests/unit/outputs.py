"""What the commands say of each record, read from their own text and JSON."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from amdcni.cli import attachments, check, devices, doctor, heal, show
from amdcni.cli.columns import Row
from amdcni.cli.devices import find_records
from amdcni.cli.listing import Listing
from amdcni.core.diagnosis import Finding
from amdcni.core.names import PciAddress
from amdcni.core.nics import BusNic, Port
from amdcni.core.policy import Policy
from amdcni.core.request import DEFAULT_DATA_DIR
from tests.unit.fake_folders import FakeOpenNode

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
