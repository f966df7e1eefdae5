"""What is printed for people fits the screen, and is plain wherever no person reads it."""

import argparse
import io
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni.cli import attachments, check, devices, heal
from amdcni.cli.check import Checked
from amdcni.cli.columns import (
    GAP,
    Column,
    Row,
    State,
    Tone,
    plain,
    shortened,
    width_of,
    widths_of,
)
from amdcni.cli.known import Known, age_of
from amdcni.cli.listing import Listing, Watch, print_listing, serve_listing
from amdcni.cli.node import on_this_node
from amdcni.cli.printing import print_sentence
from amdcni.cli.progress import counted, progress_on
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition, Seen
from amdcni.core.identity import Place
from amdcni.core.nics import BusNic, Nic, Records
from amdcni.core.spec import AttachmentId
from amdcni.testing import strategies as some
from amdcni.verbs.healing import Finding

SCREEN = 80

TEXTS = st.text(max_size=90) | st.text("abc日\u0301-", max_size=300)
"""Names as the kernel and the runtime allow them, and worse."""

long_ids = st.text("0123456789abcdef", min_size=64, max_size=64)
labels = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=63)


@st.composite
def real_attachments(draw: st.DrawFn) -> Attachment:
    """Records as a cluster makes them: long container IDs, and pods with names of any length."""
    record = draw(some.attachments)
    args = f"K8S_POD_NAMESPACE={draw(labels)};K8S_POD_NAME={draw(labels)}"
    named = attrs.evolve(record, id=AttachmentId(draw(long_ids), record.id.ifname))  # type: ignore[arg-type]
    return attrs.evolve(named, args=draw(st.sampled_from([args, ""])))


places = st.builds(Place, st.just(f"/run/netns/cni-{uuid.UUID(int=7)}"), some.ifnames)
some_seen = st.builds(Seen, st.sampled_from(Condition), st.none() | places, st.booleans())
some_known = st.builds(
    lambda record, seen: Known(record.key, record, seen), real_attachments(), some_seen
) | st.builds(lambda record, fault: Known(record.key, fault=fault), some.attachments, TEXTS)
findings = st.builds(Finding, real_attachments(), some_seen, st.booleans(), st.none() | TEXTS)


def options(output: str | None = None, **more: Any) -> argparse.Namespace:
    usual = {"output": output, "no_headers": False, "watch": False}
    return argparse.Namespace(**{**usual, **more})


def printed(listing: Listing, output: str | None = None, **more: Any) -> str:
    stdout = io.StringIO()
    print_listing(listing, options(output, **more), stdout)
    return stdout.getvalue()


def table(columns: tuple[Column, ...], rows: list[Row], output: str | None = None) -> list[str]:
    """The lines of a table."""
    # A line ends only where the table ends it, whatever is in the cells.
    return printed(Listing(columns, tuple(rows)), output).split("\n")[:-1]


# ---- every table fits


@given(st.lists(some_known, max_size=4))
def test_no_line_of_the_attachments_is_longer_than_80_columns(known: list[Known]) -> None:
    require_fitting(attachments.COLUMNS, [attachments.row_of(each) for each in known])


@given(st.lists(some_known, max_size=4), st.booleans())
def test_no_line_of_check_is_longer_than_80_columns(known: list[Known], healthy: bool) -> None:
    checked = [Checked(each, () if healthy else ("net1 is down",)) for each in known]
    require_fitting(check.COLUMNS, [check.row_of(each) for each in checked])


@given(st.lists(findings, max_size=4), st.booleans())
def test_no_line_of_heal_is_longer_than_80_columns(found: list[Finding], dry_run: bool) -> None:
    listing = heal.listing_of(found, dry_run=dry_run)
    require_fitting(listing.columns, listing.rows)


@given(st.lists(some_known, max_size=2, unique_by=lambda each: each.key), st.data())
def test_no_line_of_the_devices_is_longer_than_80_columns(
    known: list[Known], data: st.DataObject
) -> None:
    bus_device = data.draw(some.bus_devices)
    device = attrs.evolve(data.draw(some.sysfs_devices), bus_device=bus_device)
    read = tuple(each.record for each in known if each.record is not None)
    faults = {each.key: each.fault for each in known if each.fault is not None}
    nic = Nic(BusNic(device), records=Records(read, faults))
    rows = list(
        devices.rows_of(nic, {devices.which(each.key, each.record): each for each in known})
    )
    assert rows
    require_fitting(devices.COLUMNS, rows)


@pytest.mark.parametrize(
    "columns",
    [
        attachments.COLUMNS,
        check.COLUMNS,
        devices.COLUMNS,
        heal.listing_of((), dry_run=False).columns,
        heal.listing_of((), dry_run=True).columns,
    ],
)
def test_a_line_fits_however_long_every_cell_is(columns: tuple[Column, ...]) -> None:
    require_fitting(columns, [Row("x", tuple("x" * 300 for _ in columns))])


def require_fitting(columns: tuple[Column, ...], rows: Any) -> None:
    """Each row is one line of the screen, and with `wide` nothing of it is missing."""
    lines = table(columns, list(rows))
    assert len(lines) == (len(rows) + 1 if rows else 0)
    assert [line for line in lines if width_of(line) > SCREEN] == []
    wide = table(columns, list(rows), "wide")[1:]
    for row, line in zip(rows, wide, strict=True):
        assert [cell for cell in row.cells if plain(str(cell)).rstrip() not in line] == []


COLUMNS = tuple(Column(f"C{number}", 2 + number) for number in range(5))
ROWS = st.lists(
    st.lists(TEXTS, min_size=5, max_size=5).map(lambda cells: Row("x", tuple(cells))),
    min_size=1,
    max_size=4,
)


@given(ROWS, st.integers(40, 300))
def test_columns_fit_the_room_and_none_is_narrower_than_it_may_be(
    rows: list[Row], room: int
) -> None:
    widths = widths_of(COLUMNS, rows, room)
    natural = widths_of(COLUMNS, rows, None)
    assert sum(widths) + GAP * 4 <= max(room, sum(natural) + GAP * 4)
    assert sum(widths) + GAP * 4 <= room
    for width, widest, column in zip(widths, natural, COLUMNS, strict=True):
        assert min(widest, column.least) <= width <= widest
    if sum(natural) + GAP * 4 <= room:
        assert widths == natural


@given(TEXTS, st.integers(2, 100))
@example("日本語の名前", 6)
def test_a_shortened_text_keeps_its_beginning_and_its_end(text: str, width: int) -> None:
    short = shortened(text, width)
    assert width_of(short) <= width
    if width_of(text) <= width:
        assert short == text
    else:
        head, _, tail = short.partition("…") if "…" not in text else (short, "", "")
        assert "…" in text or (text.startswith(head) and text.endswith(tail))


@given(st.text())
@example("\x1b[31mred\nnext\udc80")
def test_no_text_of_others_reaches_the_terminal_as_a_command(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(text) == text or not text.isprintable()


# ---- who reads it


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


STATES = Listing((Column("STATE", 8),), (Row("x", (State("orphan", Tone.BAD),)),))


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal, {"TERM": "xterm"}, True),
        (Terminal, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal, {"TERM": "dumb"}, False),
        (io.StringIO, {"TERM": "xterm"}, False),
    ],
)
def test_states_are_coloured_only_on_a_terminal_and_without_no_color(
    stream: type[io.StringIO],
    environ: dict[str, str],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdout = stream()
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    print_listing(STATES, options(), stdout)
    word = "\x1b[1;31morphan\x1b[0m" if coloured else "orphan"
    assert stdout.getvalue() == f"STATE\n{word}\n"


def test_a_sentence_wraps_at_words_on_a_terminal_and_never_in_a_pipe() -> None:
    words = "pod " * 40
    for stdout, lines in ((Terminal(), 3), (io.StringIO(), 1)):
        print_sentence(words.strip(), stdout, indent=2)
        assert len(stdout.getvalue().splitlines()) == lines
        assert stdout.getvalue().split() == words.split()


@given(some.json_values)
@example({"\x85": None})
@example(["a\x85b", "é\u2028", "\ud800"])
def test_yaml_says_the_same_as_json(value: Any) -> None:
    listing = Listing((), (), value=value)
    assert json.loads(printed(listing, "json")) == value
    assert printed(listing, "json") == json.dumps(value, indent=2) + "\n"
    assert "&" in json.dumps(value) or "&id" not in printed(listing, "yaml")
    assert yaml.safe_load(printed(listing, "yaml")) == value


def test_name_and_no_headers_print_nothing_but_rows() -> None:
    listing = Listing((Column("A", 1),), (Row("x", ("1",)), Row("y", ("",))), ("A note.",))
    assert printed(listing, "name") == "x\ny\n"
    assert printed(listing, no_headers=True) == "1\n-\n"
    assert printed(listing) == "A\n1\n-\n\nA note.\n"


# ---- watching

AGED = (Column("NIC", 3), Column("STATE", 8), Column("AGE", 3, passes=True))


def looks(*looks: dict[str, str]) -> Iterator[Listing]:
    """NICs by their states, a second older at each look."""
    for age, states in enumerate(looks):
        rows = (Row(name, (name, State(state), f"{age}s")) for name, state in states.items())
        yield Listing(AGED, tuple(rows), value=states)


def test_a_watch_prints_what_has_changed_and_what_is_gone() -> None:
    stdout = io.StringIO()
    watch = Watch(options(), stdout)
    for look in looks(
        {"a": "attached", "b": "attached"},
        {"a": "attached", "b": "attached"},
        {"a": "orphan", "b": "attached"},
        {"b": "attached", "c": "attaching"},
    ):
        watch.show(look)
    words = [line.split()[:2] for line in stdout.getvalue().splitlines()]
    assert words == [
        *(["NIC", "STATE"], ["a", "attached"], ["b", "attached"]),
        ["a", "orphan"],
        *(["c", "attaching"], ["a", "gone"]),
    ]


@pytest.mark.parametrize("output", ["json", "name"])
def test_a_watch_for_programs_prints_everything_whenever_something_changes(output: str) -> None:
    stdout = io.StringIO()
    watch = Watch(options(output), stdout)
    for look in looks({"a": "attached"}, {"a": "attached"}, {"b": "attached"}):
        watch.show(look)
    expected = {"json": '{\n  "a": "attached"\n}\n{\n  "b": "attached"\n}\n', "name": "a\nb\n"}
    assert stdout.getvalue() == expected[output]


def test_an_interrupt_ends_a_watch_as_a_success() -> None:
    pauses: Iterator[None] = iter([None, None])

    def pause(_: float) -> None:
        try:
            next(pauses)
        except StopIteration:
            raise KeyboardInterrupt from None

    stdout, failing = io.StringIO(), attrs.evolve(STATES, status=1)
    assert serve_listing(lambda: failing, options(watch=True), stdout, pause) == 0
    assert stdout.getvalue() == "STATE\norphan\n"
    assert serve_listing(lambda: failing, options(), stdout, pause) == 1


# ---- ages


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(0), timedelta(days=9999)),
)
def test_an_age_is_in_the_largest_unit_of_which_there_are_two(
    since: datetime, passed: timedelta
) -> None:
    age = age_of(since.isoformat(), since + passed)
    number, unit = int(age[:-1]), {"s": 1, "m": 60, "h": 3600, "d": 86400}[age[-1]]
    assert 0 <= passed.total_seconds() - number * unit < unit
    assert number > 1 or unit == 1
    assert len(age) <= len("9999d")
    assert age_of(since.isoformat(), since - passed) == "0s"


@pytest.mark.parametrize("since", ["", "yesterday", "2026-13-01T00:00:00+00:00"])
def test_a_moment_that_is_none_has_no_age(since: str) -> None:
    assert age_of(since, datetime.now(UTC)) == "?"


# ---- progress


def healed_at(stderr: io.StringIO) -> str:
    with progress_on(stderr) as tell:
        for each in counted("Healing", ["eth1", "eth2"], tell):
            tell(f"{each}\n" + "x" * 200)
    return stderr.getvalue()


def test_progress_is_one_line_of_a_terminal_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    shown = healed_at(Terminal()).split("\r\x1b[K")
    assert [shown[0], shown[-1]] == ["", ""]
    assert shown[1] == "Healing ... 1/2"
    assert shown[3] == "Healing ... 2/2"
    assert "\n" not in "".join(shown)
    assert max(map(width_of, shown)) < SCREEN


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO, "xterm"), (Terminal, "dumb")])
def test_no_progress_is_written_to_what_cannot_erase_it(
    stream: type[io.StringIO], term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = stream()
    monkeypatch.setenv("TERM", term)
    assert healed_at(stderr) == ""


def test_what_the_table_of_heal_says_is_no_line_of_the_log_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for stderr, said in ((Terminal(), ["name-taken"]), (io.StringIO(), ["healed", "name-taken"])):
        with on_this_node(str(tmp_path), "heal", stderr, told={"healed"}) as node:
            node.report("healed", device="x")
            node.report("name-taken", device="x")
        lines = stderr.getvalue().replace("\r\x1b[K", "").splitlines()
        assert [line.split()[2] for line in lines] == [f"event={each}" for each in said]
