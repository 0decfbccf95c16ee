"""Alerts, dashboards and runbooks use metrics that there are, and each alert says what to do."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from docs.grafana_dashboards import DASHBOARDS, FOLDER, dashboard
from docs.metrics_reference import Described, every_metric
from tests.alerts.prometheus import RULES, hasty
from tests.alerts.runbooks import PAGE, commands, sections
from tests.docs.tables import ROOT

ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
SUFFIXES = re.compile(r"_(?:bucket|sum|count)$")
OF_PROMETHEUS = {"le", "job", "instance", "process", "worker", "exported_job"}
"""Labels that no metric has by itself."""


def series(metrics: dict[str, Described]) -> dict[str, Described]:
    """What Prometheus has of the metrics, by name."""
    found = dict(metrics)
    for metric in metrics.values():
        if metric.type == "histogram":
            found |= {f"{metric.name}_{part}": metric for part in ("bucket", "sum", "count")}
    return found


SERIES = series(every_metric())


def complaints(expression: str) -> Iterator[str]:
    """Metrics that do not exist, and labels that a metric does not have."""
    labels = set(OF_PROMETHEUS)
    for name in re.findall(r"(?<![\w\"-])cartstream_\w+", expression):
        if name not in SERIES:
            yield name
        else:
            labels |= set(SERIES[name].labels)
    matched = {
        label for group in re.findall(r"{([^}]*)}", expression) for label in re.findall(r"(\w+)[=!]", group)
    }
    grouped = {
        label for group in re.findall(r"by \(([^)]*)\)", expression) for label in re.findall(r"\w+", group)
    }
    yield from sorted((matched | grouped) - labels)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_uses_what_there_is(alert: str) -> None:
    assert list(complaints(ALERTS[alert]["expr"])) == []


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_and_leads_to_its_runbook(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    page = PAGE.relative_to(ROOT).as_posix()
    assert rule["annotations"]["runbook_url"] == f"{page}#{alert.lower()}"
    assert commands(alert), f"the runbook of {alert} has no commands"


def test_each_alert_has_a_runbook_and_a_line_on_the_page_and_no_other_has() -> None:
    assert list(sections()) == list(ALERTS)
    monitor = (ROOT / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\w+)\]\(runbooks\.md#", monitor, re.MULTILINE) == list(ALERTS)


def test_each_alert_is_tested_by_promtool_and_by_its_trouble() -> None:
    tested = yaml.safe_load((RULES.parent / "alerts_test.yml").read_text())["tests"]
    assert [test["name"] for test in tested] == list(ALERTS)
    troubles = (ROOT / "tests" / "alerts" / "test_troubles.py").read_text()
    assert [alert for alert in ALERTS if f'"{alert}"' not in troubles] == []


def test_the_suite_looks_at_the_same_rules_in_seconds() -> None:
    rules = {rule["alert"]: rule for rule in hasty(yaml.safe_load(RULES.read_text()))["groups"][0]["rules"]}
    for alert, rule in rules.items():
        assert "for" not in rule or rule["for"].endswith("s"), alert
        assert not re.search(r"\d+m\b", rule["expr"]), alert
        assert re.sub(r"\d+\w?", "0", rule["expr"]) == re.sub(r"\d+\w?", "0", ALERTS[alert]["expr"])


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_dashboard_is_made_from_the_metrics(uid: str) -> None:
    written = (FOLDER / f"{uid}.json").read_text(encoding="utf-8")
    assert written == dashboard(uid), "the dashboard is older than the metrics: run `make reference`"
    panels = json.loads(written)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert queries
    assert {query: found for query in queries if (found := list(complaints(query)))} == {}


def test_one_dashboard_shows_every_metric() -> None:
    shown = {SUFFIXES.sub("", name) for name in re.findall(r"cartstream_\w+", dashboard("cartstream-all"))}
    assert {SUFFIXES.sub("", name) for name in every_metric()} - shown == set()
