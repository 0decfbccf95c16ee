"""Everything running against carts the monolith's way: one Postgres row per line, a commit per add."""

import asyncio
import time
from pathlib import Path
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console
from rich.table import Table

from benchmarks.load import Load, run_wrk
from benchmarks.servers import WARM_UP_S, baseline, cpu_seconds, renice
from devstack.components import usual
from devstack.embedded import EmbeddedStack
from devstack.free_ports import free_ports
from devstack.settings import StackSettings
from topics.committed import committed_offsets
from topics.registry import CART_CHANGED, CARTS

CONNECTIONS = (1, 32, 128)
CARTS_COUNT = 4000
SECONDS = 8.0
NICENESS = 10
AGENTS = ["compaction", "sink-postgres", "sink-redis"]
PROCESSES = ["gateway", *AGENTS, "redis", "kafka", "postgres"]
DRAIN_SECONDS = 300.0


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Adds and reads of both at 1, 32 and 128 connections; lag, its drain, CPU and Postgres transactions."""
    figures: dict[str, Any] = {}
    with (
        EmbeddedStack(folder, only=usual(StackSettings())) as stack,
        baseline("monolith", free_ports(1)[0], stack.urls.postgres) as monolith,
    ):
        renice(stack, AGENTS, NICENESS)
        for url in (monolith, stack.urls.gateway):
            _load("add.lua", url, max(CONNECTIONS), WARM_UP_S)
        _drain(stack, console)
        for connections in CONNECTIONS:
            figures[str(connections)] = _compare(stack, monolith, connections, console)
    _print(console, figures)
    return figures


def _compare(stack: EmbeddedStack, monolith: str, connections: int, console: Console) -> dict[str, Any]:
    loads: dict[str, Load] = {}
    loads["monolith add"] = _load("add.lua", monolith, connections)
    cpu, commits, started = cpu_seconds(stack, PROCESSES), _commits(stack.urls.postgres), time.monotonic()
    loads["add"] = _load("add.lua", stack.urls.gateway, connections)
    lag = _lag(stack)
    adds = loads["add"].requests
    spent = {name: after - cpu[name] for name, after in cpu_seconds(stack, PROCESSES).items()}
    transactions = _commits(stack.urls.postgres) - commits
    drained = _drain(stack, console)
    loads["monolith read"] = _load("get.lua", monolith, connections)
    loads["read"] = _load("get.lua", stack.urls.gateway, connections)
    for name, load in loads.items():
        console.print(
            f"{connections:4} connections  {name:13} {load.rate:8.0f}/s  p50 {load.p50_ms:6.1f} ms  "
            f"p99 {load.p99_ms:6.1f} ms  not 2xx {load.non_2xx}  failed {load.socket_errors}"
        )
    console.print(
        f"{connections:4} connections  lag after the adds {lag}, drained after {drained:.1f} s; "
        f"CPU s {_rounded(spent)}; Postgres transactions per 1,000 adds {1000 * transactions / adds:.1f}"
    )
    return {
        "rates": {name: load.rate for name, load in loads.items()},
        "p50_ms": {name: load.p50_ms for name, load in loads.items()},
        "p99_ms": {name: load.p99_ms for name, load in loads.items()},
        "errors": {name: load.non_2xx + load.socket_errors for name, load in loads.items()},
        "lag": lag,
        "drain_s": drained,
        "cpu_s": _rounded(spent),
        "transactions_per_1000_adds": 1000 * transactions / adds,
        "seconds": time.monotonic() - started,
    }


def _load(script: str, url: str, connections: int, seconds: float = SECONDS) -> Load:
    return run_wrk(script, url, connections=connections, seconds=seconds, carts=CARTS_COUNT)


def _commits(url: str) -> int:
    """Transactions committed so far in the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def _lag(stack: EmbeddedStack) -> dict[str, int]:
    """Records that each consumer group has not committed yet, by topic."""
    return asyncio.run(_read_lag(stack.urls.kafka_bootstrap))


async def _read_lag(bootstrap: str) -> dict[str, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await admin.start()
    await consumer.start()
    try:
        lags: dict[str, int] = {}
        for group, _ in await admin.list_consumer_groups():
            offsets = await committed_offsets(admin, group)
            places = [place for place in offsets if place.topic in {CART_CHANGED.name, CARTS.name}]
            ends = await consumer.end_offsets(places) if places else {}
            for place in places:
                name = f"{group}:{place.topic}"
                behind = ends[place] - offsets[place]
                lags[name] = lags.get(name, 0) + max(0, behind)
        return lags
    finally:
        await consumer.stop()
        await admin.close()


def _drain(stack: EmbeddedStack, console: Console) -> float:
    """Seconds until no group is behind."""
    started = time.monotonic()
    while (lag := sum(_lag(stack).values())) > 0:
        if time.monotonic() - started > DRAIN_SECONDS:
            console.print(f"[red]still {lag} records behind after {DRAIN_SECONDS:.0f} s[/red]")
            break
        time.sleep(0.2)
    return time.monotonic() - started


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}


def _print(console: Console, figures: dict[str, Any]) -> None:
    table = Table(title="everything running, agents niced, against one row per line and a commit per add")
    for heading in ("connections", "", "monolith /s", "gateway /s", "ratio", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for connections, figure in figures.items():
        rates = figure["rates"]
        for name in ("add", "read"):
            table.add_row(
                connections,
                name,
                f"{rates[f'monolith {name}']:.0f}",
                f"{rates[name]:.0f}",
                f"{rates[name] / rates[f'monolith {name}']:.2f}",
                f"{figure['p50_ms'][f'monolith {name}']:.1f} / {figure['p50_ms'][name]:.1f}",
                f"{figure['p99_ms'][f'monolith {name}']:.1f} / {figure['p99_ms'][name]:.1f}",
            )
    console.print(table)
