"""The tables in the reference list exactly what is in the code."""

import argparse
import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import pytest

from amdcni.cli import arguments
from amdcni.core import errors
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.codec import networks
from amdcni.core.codec.converter import keys_of
from amdcni.core.condition import Condition
from amdcni.core.formats import configurations, pods
from amdcni.core.host import Address
from amdcni.core.request import Mover
from amdcni.core.spec import Verb
from amdcni.deployment import KEYS, Platform
from amdcni.deployment.platforms import traits_of
from amdcni.testing import strategies
from amdcni_agent.messages import CallEnded, What
from amdcni_agent.metrics import NONE, Metrics
from amdcni_shim import edge

DOCS = Path(__file__).parent
SOURCES = [
    path
    for package in ("amdcni", "amdcni_shim", "amdcni_agent")
    for path in (DOCS.parent / package).rglob("*.py")
    if "testing" not in path.parts
]
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
SENTENCES = re.compile(r"[a-z].*[.)]$")
"""What to do, as whole sentences or a link."""


def rows(page: str) -> list[list[str]]:
    """The cells of all tables on a page, without backquotes."""
    lines = (DOCS / page).read_text().splitlines()
    cells = [re.split(r" \| ?", line.strip("| ")) for line in lines if line.startswith("| ")]
    return [[cell.strip("` ") for cell in row] for row in cells]


def first_cells(page: str) -> set[str]:
    return {name for row in rows(page) for name in re.split("`?, `?", row[0])}


def test_the_error_codes_match_the_code() -> None:
    listed = {(int(row[0]), row[1]) for row in rows("reference/errors.md") if row[0].isdigit()}
    known = {(code, cls.__name__) for cls, code in edge.CODES.items()}
    assert listed == known | {(edge.INTERNAL, "any other")}


def test_classes_without_their_own_code_are_listed_with_their_parent() -> None:
    listed = {(row[0], row[1]) for row in rows("reference/errors.md") if row[0][:1].isupper()}
    known = {
        (cls.__name__, cls.__base__.__name__)
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, errors.AmdcniError)
        and cls.__base__
        and cls not in edge.CODES
    }
    assert listed == known - {("PluginFailed", "AmdcniError")}


@pytest.mark.parametrize("cls", [Attachment, Captured, Address])
def test_every_key_of_a_record_is_described(cls: type) -> None:
    assert set(keys_of(cls)) <= first_cells("reference/state.md")


def test_every_configuration_key_that_is_read_is_described() -> None:
    own = {
        cls
        for module in (configurations, networks, pods)
        for cls in vars(module).values()
        if attrs.has(cls) and cls.__module__ == module.__name__
    }
    read = {key for cls in own for key in keys_of(cls)} | {"mover", "prevResult"}
    described = first_cells("reference/configuration.md")
    assert read <= described | {part for key in described for part in key.split(".")}


def test_the_log_events_match_the_code() -> None:
    reported = {
        event
        for path in SOURCES
        for event in re.findall(
            r'(?:report\(|log\(\s*LogLevel\.\w+,)\s*"([a-z-]+)"', path.read_text()
        )
    }
    listed = {row[0] for row in rows("how-to/read-the-log.md")} - {"event", "---"}
    assert listed == reported


KINDS = ("counter", "gauge", "histogram", "info")


def test_the_metrics_match_the_code() -> None:
    suffixes = {"counter": "_total", "info": "_info"}
    served = {
        f"{family.name}{suffixes.get(family.type, '')}": (family.type, family.unit)
        for family in Metrics().registry.collect()
    }
    listed = {row[0]: (row[1], row[2]) for row in rows("reference/metrics.md") if row[1] in KINDS}
    assert set(listed) == set(served)
    for name, (kind, unit) in served.items():
        assert listed[name][0] == kind
        assert not unit or listed[name][1] == unit


def test_the_labels_of_each_metric_match_the_code() -> None:
    metrics = Metrics()
    metrics.take(CallEnded(Verb.ADD, None, "ok", lasted_s=1, queued_s=1))
    served = {
        re.sub("_(bucket|sum|count)$", "", sample.name): set(sample.labels) - {"le"}
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    listed = {
        row[0]: set(re.findall(r"\w+", row[3])) - {"none"}
        for row in rows("reference/metrics.md")
        if row[1] in KINDS
    }
    assert listed == served


@pytest.mark.parametrize(
    ("label", "values"),
    [("verb", [*Verb, NONE]), ("mover", [*Mover, NONE]), ("condition", Condition), ("what", What)],
)
def test_the_values_of_each_label_match_the_code(label: str, values: Iterable[str]) -> None:
    page = (DOCS / "reference/metrics.md").read_text()
    (listed,) = re.findall(rf"^\| `{label}` \| (.*) \|$", page, re.M)
    assert set(re.findall("`([^`]+)`", listed)) == set(values)


def test_every_alert_is_listed_with_what_to_do() -> None:
    alerts = (DOCS.parent / "deploy/prometheus/alerts.yaml").read_text()
    named = [row for row in rows("how-to/monitor.md") if row[0].startswith("Amdcni")]
    assert [row[0] for row in named] == re.findall(r"- alert: (\w+)", alerts)
    assert all(SENTENCES.search(row[1]) for row in named)


def test_every_strategy_is_documented() -> None:
    page = (DOCS / "reference/python/strategies.md").read_text()
    named = set(re.findall(r"^\.\. auto\w+:: amdcni\.testing\.strategies\.\w+\.(\w+)$", page, re.M))
    assert named == set(strategies.__all__)


def test_every_key_of_the_manifests_is_listed_with_its_default() -> None:
    page = (DOCS / "reference/command.md").read_text()
    section = page.partition("## amdcni manifests")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", section, re.M)
    without = {"binDir": "by platform"}
    known = [
        (name, f"`{key.default}`" if key.default else without.get(name, "none"))
        for name, key in KEYS.items()
    ]
    assert listed == known


@pytest.mark.parametrize("platform", Platform)
def test_the_bin_dir_of_each_platform_is_listed(platform: Platform) -> None:
    listed = {row[0]: row[1] for row in rows("how-to/install-on-a-cluster.md")}
    assert listed[platform] == traits_of(platform).bin_dir


def test_every_line_of_the_units_has_its_reason_and_what_is_left_out_is_left_out() -> None:
    text = "".join(path.read_text() for path in (DOCS.parent / "deploy/systemd").iterdir())
    written = set(re.findall(r"^(\w+=)", text, re.M)) - {"Description=", "WantedBy="}
    page = (DOCS / "how-to/install-with-systemd.md").read_text()
    kept, _, left_out = page.partition("And what is left out")
    tables = [set(re.findall(r"`(\w+=)`", part)) for part in (kept, left_out)]
    assert (written - tables[0], written & tables[1]) == (set(), set())


def template(node: ast.expr) -> str:
    """A message as documented: an ellipsis stands for what is known only at run time."""
    match node:
        case ast.Constant(value):
            return str(value)
        case ast.JoinedStr(values):
            return "".join(map(template, values))
        case _:
            return "…"


def messages_in(path: Path) -> Iterator[str]:
    """The messages of the errors that a module creates."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(ast.Name(name), [message, *_]) if hasattr(errors, name):
                yield re.sub("…+", "…", template(message))


def test_every_message_is_documented_with_its_remedy() -> None:
    table = [row for row in rows("reference/messages.md") if row[0] not in ("message", "---")]
    raised = {message for path in SOURCES for message in messages_in(path)}
    with_words = {text for text in raised if re.search("[a-z]{3}", text)}
    assert with_words - {row[0] for row in table} == set()
    assert [row for row in table if len(row) != 2 or not SENTENCES.search(row[1])] == []


def commands_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall("`amdcni ([a-z]+)", (DOCS / page).read_text()))
    assert named <= set(commands_of(arguments.parser()))
