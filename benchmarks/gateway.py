"""The gateway against a bare Sanic route: Redis, broker and gateway running, the agents stopped."""

from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load import Load, run_wrk
from benchmarks.servers import WARM_UP_S, baseline
from devstack.components import usual
from devstack.embedded import EmbeddedStack
from devstack.free_ports import free_ports
from devstack.settings import StackSettings

CONNECTIONS = 128
CARTS = 4000
SECONDS = 6.0
ROUNDS = 5
AGENTS = ("sink-redis", "sink-postgres", "compaction", "merges")


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Five paired rounds of bare add, add, bare read, read; the medians of the ratios are the figures."""
    rates: dict[str, list[float]] = {"bare add": [], "add": [], "bare read": [], "read": []}
    loads: dict[str, Load] = {}
    with EmbeddedStack(folder, only=usual(StackSettings())) as stack:
        for agent in AGENTS:  # the restore agent has set the markers by now
            stack.component(agent).stop()
        with baseline("bare", free_ports(1)[0], stack.urls.postgres) as bare:
            for url in (bare, stack.urls.gateway):
                run_wrk("add.lua", url, connections=CONNECTIONS, seconds=WARM_UP_S, carts=CARTS)
            for turn in range(ROUNDS):
                for name, script, url in (
                    ("bare add", "add.lua", bare),
                    ("add", "add.lua", stack.urls.gateway),
                    ("bare read", "get.lua", bare),
                    ("read", "get.lua", stack.urls.gateway),
                ):
                    load = run_wrk(script, url, connections=CONNECTIONS, seconds=SECONDS, carts=CARTS)
                    rates[name].append(load.rate)
                    loads[name] = load
                    console.print(
                        f"round {turn + 1}/{ROUNDS}  {name:9} {load.rate:8.0f}/s  p50 {load.p50_ms:6.1f} ms  "
                        f"p99 {load.p99_ms:6.1f} ms  not 2xx {load.non_2xx}  failed {load.socket_errors}"
                    )
    ratios = {
        name: median(ours / bare for ours, bare in zip(rates[name], rates[f"bare {name}"], strict=True))
        for name in ("add", "read")
    }
    _print(console, rates, ratios)
    return {"rates": {name: median(values) for name, values in rates.items()}, "ratios": ratios}


def _print(console: Console, rates: dict[str, list[float]], ratios: dict[str, float]) -> None:
    table = Table(
        title=f"gateway, {CONNECTIONS} connections, {CARTS} carts, medians of {ROUNDS} paired rounds"
    )
    for heading in ("", "bare Sanic /s", "gateway /s", "ratio"):
        table.add_column(heading, justify="right")
    for name, what in (("add", "add, durability=kafka"), ("read", "GET cart")):
        table.add_row(
            what, f"{median(rates[f'bare {name}']):.0f}", f"{median(rates[name]):.0f}", f"{ratios[name]:.0%}"
        )
    console.print(table)
