"""Makes the Grafana dashboards from the metrics: `python -m docs.grafana_dashboards`, or `make reference`.

`cartstream` is for whoever is on call, from what shoppers notice down to its causes. `cartstream-all` shows
every metric, a row for each section of the page of metrics.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from docs.metrics_reference import SECTIONS, Described, described

FOLDER: Final = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"

_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_WIDTH: Final = 24
_PANEL_WIDTH: Final = 8
_HEIGHT: Final = 7
_UNITS: Final = {"_seconds": "s", "_bytes": "bytes", "_percent": "percent", "_ratio": "percentunit"}


class Query(NamedTuple):
    """What a panel shows, and what its lines are called."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A graph."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    description: str = ""


class Row(NamedTuple):
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


def _share(quantile: float, name: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({name}_bucket[$__rate_interval])))"


def _percentiles(name: str) -> list[Query]:
    return [Query(_share(share, name), f"{share:.0%}") for share in (0.5, 0.99)]


ON_CALL: Final = (
    Row(
        "What shoppers notice",
        (
            Panel(
                "Requests",
                [
                    Query(
                        "sum by (status) (rate(cartstream_gateway_request_seconds_count[$__rate_interval]))",
                        "{{status}}",
                    ),
                    Query(
                        "sum(rate(cartstream_gateway_requests_shed_total[$__rate_interval]))", "turned away"
                    ),
                ],
                "reqps",
            ),
            Panel(
                "Slowest hundredth of requests",
                [Query(_share(0.99, "cartstream_gateway_request_seconds", "route"), "{{route}}")],
                "s",
            ),
            Panel(
                "The same by gateway",
                [Query(_share(0.99, "cartstream_gateway_request_seconds", "instance"), "{{instance}}")],
                "s",
            ),
            Panel(
                "Slowest hundredth of checkouts, by stage",
                [Query(_share(0.99, "cartstream_gateway_checkout_stage_seconds", "stage"), "{{stage}}")],
                "s",
            ),
            Panel(
                "Problems answered",
                [
                    Query(
                        "sum by (type) (rate(cartstream_gateway_problems_total[$__rate_interval]))",
                        "{{type}}",
                    )
                ],
                "reqps",
            ),
            Panel(
                "Durability of changes",
                [
                    Query(
                        "sum by (durability) (rate(cartstream_gateway_changes_total[$__rate_interval]))",
                        "{{durability}}",
                    )
                ],
                "reqps",
            ),
            Panel(
                "Checkouts",
                [
                    Query(
                        "sum by (outcome) (rate(cartstream_gateway_checkouts_total[$__rate_interval]))",
                        "{{outcome}}",
                    )
                ],
                "reqps",
            ),
            Panel(
                "Where carts were read",
                [
                    Query(
                        "sum by (source) (rate(cartstream_gateway_reads_total[$__rate_interval]))",
                        "{{source}}",
                    ),
                    Query(
                        "sum by (outcome) (rate(cartstream_gateway_hydrations_total[$__rate_interval]))",
                        "looked up in Postgres: {{outcome}}",
                    ),
                ],
                "reqps",
            ),
        ),
    ),
    Row(
        "On the way of a change",
        (
            Panel(
                "Lag, in seconds",
                [
                    Query("max by (group) (cartstream_delivery_lag_seconds)", "{{group}}"),
                    Query("max(cartstream_redis_sink_follow_lag_seconds)", "Redis sink"),
                    Query("max(cartstream_redis_sink_products_lag_seconds)", "product cache"),
                ],
                "s",
            ),
            Panel(
                "Lag, in records",
                [
                    Query("sum by (group) (cartstream_delivery_lag_records)", "{{group}}"),
                    Query("sum(cartstream_redis_sink_follow_lag_records)", "Redis sink"),
                ],
            ),
            Panel(
                "What events did",
                [
                    Query(
                        "sum by (verdict) (rate(cartstream_compaction_events_total[$__rate_interval]))",
                        "{{verdict}}",
                    )
                ],
                "reqps",
            ),
            Panel(
                "Redis outboxes: oldest change",
                [
                    Query("max(cartstream_gateway_redis_outbox_oldest_seconds)", "Redis"),
                    Query("max(cartstream_jobs_outbox_oldest_seconds)", "Postgres"),
                ],
                "s",
            ),
            Panel("Redis answers", _percentiles("cartstream_gateway_redis_seconds"), "s"),
            Panel("Kafka answers", _percentiles("cartstream_gateway_publish_seconds"), "s"),
            Panel(
                "Postgres sink writes a batch", _percentiles("cartstream_postgres_sink_write_seconds"), "s"
            ),
            Panel(
                "Not in `carts` after a minute",
                [Query("sum(cartstream_redis_sink_pending_carts)", "carts")],
            ),
        ),
    ),
    Row(
        "Stores and processes",
        (
            Panel("Processes", [Query('up{job=~"cartstream.*"}', "{{process}} {{instance}}")]),
            Panel(
                "Memory of Redis",
                [
                    Query("max(cartstream_gateway_redis_used_bytes)", "used"),
                    Query("max(cartstream_gateway_redis_max_bytes)", "maxmemory"),
                ],
                "bytes",
            ),
            Panel(
                "Restore of Redis",
                [Query("cartstream_redis_sink_restore_percent", "partition {{partition}}")],
                "percent",
            ),
            Panel(
                "Orders not settled",
                [Query("max by (standing) (cartstream_jobs_orders_unsettled)", "{{standing}}")],
            ),
            Panel(
                "Dead letters",
                [
                    Query(
                        "sum by (agent, code) (increase(cartstream_dead_letters_total[$__rate_interval]))",
                        "{{agent}} {{code}}",
                    )
                ],
            ),
            Panel("Mails waiting", [Query("max(cartstream_mail_sink_waiting_mails)", "mails")]),
        ),
    ),
)


def _panel_of(metric: Described) -> Panel:
    by = ", ".join(metric.labels)
    legend = " ".join(f"{{{{{label}}}}}" for label in metric.labels) or "all"
    unit = next((unit for end, unit in _UNITS.items() if metric.name.endswith(end)), "short")
    match metric.type:
        case "counter":
            rate = f"sum by ({by}) (rate({metric.name}[$__rate_interval]))"
            return Panel(metric.name, [Query(rate, legend)], "ops", metric.meaning)
        case "histogram":
            return Panel(metric.name, _percentiles(metric.name), unit, metric.meaning)
    return Panel(
        metric.name, [Query(f"max by ({_of_prometheus(by)}) ({metric.name})", legend)], unit, metric.meaning
    )


def _of_prometheus(labels: str) -> str:
    """Prometheus has a label `job` of its own."""
    return labels.replace("job", "exported_job")


ALL: Final = tuple(
    Row(section.title, [_panel_of(metric) for metric in described(section)]) for section in SECTIONS
)

DASHBOARDS: Final = {
    "cartstream": ("Cartstream: on call", ON_CALL),
    "cartstream-all": ("Cartstream: every metric", ALL),
}


def dashboard(uid: str) -> str:
    """The JSON document of a dashboard, as Grafana imports it."""
    title, rows = DASHBOARDS[uid]
    document = {
        "uid": uid,
        "title": title,
        "tags": ["cartstream"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": list(_laid_out(rows)),
    }
    return json.dumps(document, indent=1) + "\n"


def _laid_out(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "gridPos": place,
            "collapsed": False,
            "panels": [],
        }
        top += 1
        for index, panel in enumerate(row.panels):
            number += 1
            line, column = divmod(index, _WIDTH // _PANEL_WIDTH)
            place = {
                "x": column * _PANEL_WIDTH,
                "y": top + line * _HEIGHT,
                "w": _PANEL_WIDTH,
                "h": _HEIGHT,
            }
            yield _graph(number, panel, place)
        top += -(-len(row.panels) // (_WIDTH // _PANEL_WIDTH)) * _HEIGHT


def _graph(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        path = FOLDER / f"{name}.json"
        path.write_text(dashboard(name), encoding="utf-8")
        print(f"written: {path}")
