"""The alerts and the dashboard in `monitoring/`: by promtool, and against the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from celery_ranch.observing.metrics.catalogue import METRICS
from tests.prometheus import promtool

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
RULES = MONITORING / "celery_ranch.rules.yml"
TESTS = MONITORING / "celery_ranch.tests.yml"
DASHBOARD = MONITORING / "celery_ranch.dashboard.json"

LABELS = {each.name: {*each.labels} for each in METRICS}
for _each in METRICS:
    if _each.kind == "histogram":
        LABELS[f"{_each.name}_bucket"] = {*_each.labels, "le"}

#: What Prometheus adds.
_ADDED = {"job", "instance"}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def queries() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


EXPRESSIONS = [*(each["expr"] for each in rules()), *queries()]


def test_the_alerts_mean_what_their_tests_say() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", RULES)
    promtool("test", "rules", TESTS)


def test_every_alert_is_tested_both_ways() -> None:
    cases = [
        case
        for test in yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
    ]
    for alert in (each["alert"] for each in rules()):
        fires = {bool(case.get("exp_alerts")) for case in cases if case["alertname"] == alert}
        assert fires == {True, False}, alert


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_that_is_asked_for_there_is(expression: str) -> None:
    names = re.findall(r"celery_ranch_\w+", expression)
    assert names
    assert {*names} <= {*LABELS}
    there_are = set().union(*(LABELS[name] for name in names), _ADDED)
    for selector in re.findall(r"\{([^}]*)\}", expression):
        assert {*re.findall(r"(\w+)\s*[!=]~?", selector)} <= there_are
    for clause in re.findall(r"(?:without|by|ignoring|on) \(([\w, ]*)\)", expression):
        assert {*clause.split(", ")} <= there_are


def test_every_query_of_the_dashboard_is_one_that_prometheus_can_read(tmp_path: Path) -> None:
    filled = [
        query.replace("$__rate_interval", "5m").replace("$job", "shop").replace("$queue", ".*")
        for query in queries()
    ]
    assert not [query for query in filled if "$" in query]
    recorded = [{"record": f"query_{at}", "expr": query} for at, query in enumerate(filled)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}))
    promtool("check", "rules", path)


def test_the_dashboard_is_one_that_grafana_takes_for_any_prometheus() -> None:
    made = dashboard()
    variables = {each["name"]: each for each in made["templating"]["list"]}
    assert [*variables] == ["datasource", "job", "queue"]
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    for name in ("job", "queue"):
        [metric] = re.findall(r"celery_ranch_\w+", variables[name]["definition"])
        assert metric in LABELS
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len({*cells}) == len(cells), "panels lie over each other"


def test_every_alert_is_in_the_table_of_the_page() -> None:
    page = (ROOT / "docs" / "how-to" / "be-alerted.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [each["alert"] for each in rules()]
