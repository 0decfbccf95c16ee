"""How `cartstream top` shows the overview: a screen of tables."""

from collections.abc import Iterable, Iterator
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.tables import new_table
from cli.workers import ranges
from ops.overview.document import Overview, Severity
from ops.overview.processes import Process, ProcessState
from ops.overview.stores import RedisHealth
from ops.overview.traffic import Timing
from ops.workers import GroupReport

_SEVERITIES: Final = {Severity.BAD: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_STATES: Final = {ProcessState.READY: "green", ProcessState.DEGRADED: "yellow"}
_MEGABYTE: Final = 1 << 20


def shown(overview: Overview) -> RenderableType:
    """The whole screen."""
    return Group(*_parts(overview))


def _parts(overview: Overview) -> Iterator[RenderableType]:
    if not overview.troubles:
        yield Text("All is well.", style="bold green") if overview.looked else Text("Looking …")
    for trouble in overview.troubles:
        line = Text(trouble.what, style=_SEVERITIES[trouble.severity])
        yield line.append(f" - {trouble.do}" if trouble.do else "", style="default")
    yield Text()
    yield _traffic(overview)
    yield _stores(overview)
    if overview.times:
        yield _titled("Times of the last minute", _times(overview.times))
    if overview.groups.value:
        yield _titled("Consumer groups", _groups(overview.groups.value))
    if overview.redis.value and (overview.redis.value.restoring or overview.redis.value.warming):
        yield _titled("Restoration", _restoration(overview.redis.value))
    if overview.processes:
        yield _titled("Processes", _processes(overview.processes))


def _titled(title: str, table: Table) -> Group:
    return Group(Text(f"\n{title}", style="bold"), table)


def _traffic(overview: Overview) -> Text:
    traffic = overview.traffic
    return Text(
        f"changes {_per_s(traffic.changes_per_s)}   reads {_per_s(traffic.reads_per_s)}   "
        f"checkouts {_per_s(traffic.checkouts_per_s)}   problems {_per_s(traffic.problems_per_s)}   "
        f"in flight {_number(traffic.in_flight)}   connections {_number(traffic.connections)}   "
        f"streams {_number(traffic.streams)}"
    )


def _stores(overview: Overview) -> Text:
    redis, kafka, tables, letters = (
        overview.redis.value,
        overview.kafka.value,
        overview.postgres.value,
        overview.letters.value,
    )
    parts = []
    if redis:
        outbox = sum(each.entries for each in redis.outboxes)
        bound = f" of {redis.max_bytes / _MEGABYTE:.0f}" if redis.max_bytes else ""
        used = f"{redis.used_bytes / _MEGABYTE:.0f}{bound} MB"
        parts.append(f"Redis {redis.version}: {used}, {redis.round_trip_ms:g} ms, outboxes {outbox}")
    if kafka:
        brokers = "1 broker" if kafka.brokers == 1 else f"{kafka.brokers} brokers"
        parts.append(f"Kafka: {brokers}")
    if tables:
        parts.append(
            f"Postgres {tables.version}: outbox {tables.outbox_rows}, unsettled orders "
            f"{tables.unsettled_count}, open merges {tables.merges_count}, mails {tables.mails_count}, "
            f"left behind {tables.left_behind_count}"
        )
    if letters:
        parts.append(f"dead letters: {letters.open}{'+' if letters.more else ''}")
    return Text("\n".join(parts))


def _times(times: Iterable[Timing]) -> Table:
    table = new_table("what", "per second", "p50 ms", "p90 ms", "p99 ms")
    for each in times:
        figures = (each.p50_ms, each.p90_ms, each.p99_ms)
        table.add_row(each.name, f"{each.per_s:g}", *(_number(figure) for figure in figures))
    return table


def _groups(groups: Iterable[GroupReport]) -> Table:
    table = new_table("group", "state", "workers", "lag", "behind", "records/s", "partitions that wait")
    for each in groups:
        waiting = [place.partition for place in each.partitions if place.lag]
        table.add_row(
            each.group,
            each.state,
            str(len(each.members)),
            _number(each.lag),
            "?" if each.behind_s is None else f"{each.behind_s:g} s",
            _number(each.records_per_s),
            ranges(waiting),
        )
    return table


def _restoration(redis: RedisHealth) -> Table:
    table = new_table("partition", "is", "percent", "carts/s", "left")
    for restoring in redis.restoring:
        report = restoring.report
        table.add_row(
            str(restoring.partition),
            "restored",
            _number(report.percent if report else None),
            _number(report.carts_per_s if report else None),
            "?" if report is None or report.eta_s is None else f"{report.eta_s:g} s",
        )
    for warming in redis.warming:
        table.add_row(str(warming.partition), "warmed", f"{warming.percent:g}", "", "")
    return table


def _processes(processes: Iterable[Process]) -> Table:
    table = new_table("process", "state", "CPU", "MB", "up", "requests p99 ms", "what is wrong")
    for each in processes:
        table.add_row(
            each.name,
            Text(each.state.replace("_", " "), style=_STATES.get(each.state, "red")),
            "" if each.cpu is None else f"{each.cpu:.0%}",
            "" if each.memory_bytes is None else f"{each.memory_bytes / _MEGABYTE:.0f}",
            "" if each.up_s is None else f"{each.up_s / 60:.0f} min",
            "" if each.requests_p99_ms is None else f"{each.requests_p99_ms:g}",
            "; ".join(f"{name}: {detail}" for name, detail in each.failing.items()),
        )
    return table


def _per_s(value: float | None) -> str:
    return "?" if value is None else f"{value:,.1f}/s"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,g}"
