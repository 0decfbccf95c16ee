"""`python -m benchmarks [NAME…]`: run the measurements, print their tables, keep the figures."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import (
    catalogue,
    compaction,
    cost,
    disasters,
    gateway,
    live,
    monolith,
    outage,
    overload,
    restart,
    restore,
    scale,
    topic_size,
    wipe,
)

Benchmark = Callable[[Path, Console], dict[str, Any]]

BENCHMARKS: dict[str, Benchmark] = {
    "gateway": gateway.run,
    "monolith": monolith.run,
    "compaction": compaction.run,
    "restore": restore.run,
    "restart": restart.run,
    "wipe": wipe.run,
    "topic_size": topic_size.run,
    "outage": outage.run,
    "catalogue": catalogue.run,
    "live": live.run,
    "scale": scale.run,
    "cost": cost.run,
    "overload": overload.run,
    "disasters": disasters.run,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--carts", type=int, multiple=True, default=restart.SIZES, help="For `restart`: how many.")
@click.option(
    "--period",
    type=click.FloatRange(min=10),
    default=cost.PERIOD_S,
    help="For `cost`: seconds a rate is borne.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=2),
    default=overload.SECONDS,
    help="For `overload`: how long the load lasts.",
)
@click.option("--group", multiple=True, type=click.Choice(list(scale.COMPONENTS)), help="For `scale`: which.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("benchmarks/results.json"))
def main(
    names: tuple[str, ...],
    carts: tuple[int, ...],
    period: float,
    seconds: float,
    group: tuple[str, ...],
    results: Path,
) -> None:
    """Measure the named things, or all of them, on servers of their own."""
    # As Ctrl-C: what has been started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # The stack's processes inherit it: a cart is measured without a catalogue.
    os.environ |= {"CARTSTREAM_PRODUCTS_OWNER": "caller", "CARTSTREAM_ORDERS_OWNER": "external"}
    # In a file no table is squeezed into 80 columns.
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    figures: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    benchmarks = BENCHMARKS | {
        "restart": partial(restart.run, sizes=carts),
        "cost": partial(cost.run, period_s=period),
        "overload": partial(overload.run, seconds=seconds),
        "scale": partial(scale.run, groups=group),
    }
    for name in names or benchmarks:
        with tempfile.TemporaryDirectory(prefix=f"cartstream-bench-{name}-") as folder:
            figures[name] = benchmarks[name](Path(folder), console)
        results.write_text(json.dumps(figures, indent=2) + "\n")
    console.print(f"figures written to {results}")


if __name__ == "__main__":
    main()
