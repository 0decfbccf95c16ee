"""Makes the page of metrics from their definitions: `python -m docs.metrics_reference`, or `make reference`.

What a metric means is its help text, which `/metrics` shows, too. Here is what belongs to no single metric:
the order of the sections, and what is said once for a whole section.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client.metrics import MetricWrapperBase

import delivery.metrics
import jobs.metrics
import sinks.history.metrics
import sinks.mail.metrics
import sinks.postgres.metrics
import sinks.redis.metrics
import streams.merge_metrics
import streams.metrics
import topics.metrics
from gateway.metrics import Metrics

PAGE: Final = Path(__file__).parent / "reference" / "metrics.md"

_HEAD: Final = """\
# Metrics

<!-- Made by `make reference` from the metrics: change the help text of the metric, not this page. -->

Prometheus metrics of every process, at `/metrics`: of the gateway on its own port, of all others where
[their probes](../how-to/monitor.md#probes) are. How Prometheus finds them, and what to alert on, is in
[Monitor](../how-to/monitor.md). A histogram has `_bucket`, `_sum` and `_count`.
"""


class Section(NamedTuple):
    """A heading, where its metrics are defined, and what is said of all of them."""

    title: str
    metrics: Mapping[str, Any]
    intro: str = ""


class Described(NamedTuple):
    """A metric as its samples show it: a counter with `_total`."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


SECTIONS: Final = (
    Section(
        "Gateway", vars(Metrics()), "The `type` of a problem is listed in [HTTP API](http-api.md#problems)."
    ),
    Section(
        "All processes with topics",
        vars(topics.metrics),
        "See [Handle dead letters](../how-to/dead-letters.md).",
    ),
    Section(
        "Faust workers",
        vars(delivery.metrics),
        "Of `streams compaction`, `sinks postgres`, `sinks mail` and `sinks history`. `group` is the "
        "consumer group.",
    ),
    Section("Compaction", vars(streams.metrics)),
    Section("Merge agent", vars(streams.merge_metrics)),
    Section("Postgres sink", vars(sinks.postgres.metrics)),
    Section("History sink", vars(sinks.history.metrics)),
    Section("Redis sink", vars(sinks.redis.metrics)),
    Section("Mail sink", vars(sinks.mail.metrics)),
    Section(
        "Jobs",
        vars(jobs.metrics),
        "The label `job` is `expiry`, `relay`, `settlement`, `abandonment`, `checkout-timeouts`, `merges` or "
        "`history`.",
    ),
)


def described(section: Section) -> Iterator[Described]:
    """The metrics of a section, in the order of their definitions."""
    for metric in section.metrics.values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            suffix = "_total" if family.type == "counter" else ""
            labels = tuple(metric._labelnames)  # noqa: SLF001  one without samples tells them in no other way
            yield Described(f"{family.name}{suffix}", family.type, labels, family.documentation)


def every_metric() -> dict[str, Described]:
    """All metrics of the product by name."""
    return {metric.name: metric for section in SECTIONS for metric in described(section)}


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for section in SECTIONS:
        parts.append(f"## {section.title}\n")
        if section.intro:
            parts.append(f"{section.intro}\n")
        rows = [_row(metric) for metric in described(section)]
        parts.append("\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _row(metric: Described) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    cells = (f"`{metric.name}`", metric.type, labels, metric.meaning)
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
