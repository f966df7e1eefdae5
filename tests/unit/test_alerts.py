"""The alerts and the dashboard ask for what the agent serves, and Prometheus understands them."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from amdcni.core.condition import Condition
from amdcni.core.request import Mover
from amdcni.core.spec import Verb
from amdcni_agent.messages import OUTCOMES, CallEnded, What
from amdcni_agent.metrics import NONE, Metrics
from tests.unit.promtool import promtool

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yaml"
TESTS = DEPLOY / "prometheus/alerts-test.yaml"
DASHBOARD = DEPLOY / "grafana/amdcni.json"

BY_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to what it scrapes."""

VALUES = {
    "condition": {condition.value for condition in Condition},
    "mover": {mover.value for mover in Mover} | {NONE},
    "outcome": set(OUTCOMES),
    "state": {"idle", "busy"},
    "verb": {verb.value for verb in Verb} | {NONE},
    "what": {what.value for what in What},
}


def metrics() -> Metrics:
    """Metrics in which every series has appeared."""
    metrics = Metrics()
    metrics.take(CallEnded(Verb.ADD, Mover.NATIVE, "ok", lasted_s=1, queued_s=1))
    return metrics


def served() -> dict[str, set[str]]:
    """The labels of each series that the agent serves."""
    return {
        sample.name: set(sample.labels)
        for family in metrics().registry.collect()
        for sample in family.samples
    }


SERVED = served()


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    yield from (alert["expr"] for alert in alerts())
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])


def series_of(tests: dict[str, Any]) -> Iterator[str]:
    for test in tests["tests"]:
        yield from (series["series"] for series in test["input_series"])


EXPRESSIONS = sorted({*expressions(), *series_of(yaml.safe_load(TESTS.read_text()))})


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_series_that_is_asked_for_is_served(expression: str) -> None:
    named = set(re.findall(r"\bamdcni_\w+", expression))
    assert named <= set(SERVED)
    assert named or expression.startswith("up{")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_label_that_is_asked_for_exists_and_can_match(expression: str) -> None:
    for name, matchers in re.findall(r"\b(amdcni_\w+)\{([^}]*)\}", expression):
        for label, operator, value in re.findall(r'(\w+)(=~?)"([^"]*)"', matchers):
            assert label in SERVED[name] | BY_PROMETHEUS
            for known in [VALUES[label]] if label in VALUES else []:
                alternatives = value.split("|") if operator == "=~" else [re.escape(value)]
                for pattern in alternatives:
                    assert any(re.fullmatch(pattern, each) for each in known), pattern


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_label_that_is_grouped_by_exists(expression: str) -> None:
    labels = set().union(*SERVED.values()) | BY_PROMETHEUS
    for listed in re.findall(r"\b(?:by|without) \(([^)]*)\)", expression):
        assert set(listed.split(", ")) <= labels


def test_every_condition_is_either_fine_or_alerted() -> None:
    """A new condition has to be thought of."""
    alerted = {
        condition
        for alert in alerts()
        for listed in re.findall(r'condition=~?"([^"]*)"', alert["expr"])
        for condition in listed.split("|")
    }
    assert alerted == {each.value for each in Condition} - {Condition.HELD.value}


def test_what_waits_to_be_healed_is_what_can_be_healed() -> None:
    healable = {each.value for each in Condition if each.about.healable}
    texts = [ALERTS.read_text(), DASHBOARD.read_text().replace('\\"', '"')]
    for text in texts:
        lists = [set(each.split("|")) for each in re.findall(r'condition=~"(unf[^"]*)"', text)]
        assert lists == [healable]


def test_every_alert_is_tested_and_says_how_bad_it_is_and_what_has_happened() -> None:
    tested = TESTS.read_text()
    for alert in alerts():
        assert alert["alert"] in tested
        assert alert["labels"]["severity"] in ("info", "warning", "critical")
        assert set(alert["annotations"]) == {"summary", "description"}


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in SERVED}
    assert {name for name in families if name not in shown} == set()


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert cells.isdisjoint(taken)
        assert max(columns) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_every_variable_that_the_dashboard_uses_is_defined() -> None:
    text = DASHBOARD.read_text()
    defined = {each["name"] for each in json.loads(text)["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", text))
    assert used == defined | {"__rate_interval"}


def check(*arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> str:
    done = subprocess.run(
        [promtool(), *arguments], cwd=cwd, input=stdin, capture_output=True, text=False
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_promtool_accepts_the_alerts() -> None:
    assert f"{len(alerts())} rules found" in check("check", "rules", "--lint-fatal", ALERTS)


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    check("test", "rules", TESTS.name, cwd=TESTS.parent)


def test_promtool_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "5m")}
        for n, expression in enumerate(expressions)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    check("check", "rules", path)


def test_promtool_finds_no_fault_in_the_names_of_the_metrics() -> None:
    from prometheus_client.exposition import generate_latest

    check("check", "metrics", stdin=generate_latest(metrics().registry))
