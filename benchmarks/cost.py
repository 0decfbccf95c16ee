"""What an add costs all processes together, and how many adds a second they bear: beside carts as rows."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import msgspec
import psycopg
from aiokafka import TopicPartition
from rich.console import Console
from rich.table import Table

from benchmarks.lags import STAGES, Lag, Lags, keeps_up, longest, watching
from benchmarks.load import Load, run_wrk
from benchmarks.servers import WARM_UP_S, baseline, cpu_seconds
from devstack.embedded import EmbeddedStack
from devstack.free_ports import free_ports
from runtime.kafka.ranges import OffsetRange, RangeReader
from runtime.settings import KafkaSettings
from store.postgres.carts import mean_bytes
from store.redis import Layout, PipelinedClient, RedisSettings
from topics.registry import CARTS, PARTITIONS

WINDOWS: Final = (1, 10, 60)
PACE: Final = 1000
"""Adds a second while CPU is measured."""
PERIOD_S: Final = 60.0
CONNECTIONS: Final = 128
CARTS_COUNT: Final = 4000
ROUNDS: Final = 3
HALVINGS: Final = 4
KEPT_PACE: Final = 0.98
SAMPLE: Final = 200
PROCESSES: Final = (
    *("gateway", "redis", "kafka", "compaction"),
    *("sink-redis", "sink-postgres", "postgres", "jobs", "merges"),
)
COMPONENTS: Final = ("topics", "migrate", *PROCESSES)


class NothingSustained(Exception):
    """Even the lowest rate was too fast: the machine is busy with other work, or a process stands still."""

    def __init__(self, rate: float) -> None:
        super().__init__(f"{rate:.0f} adds/s are too fast: {self.__doc__}")


class Sizes(msgspec.Struct, frozen=True):
    """Mean bytes: of a cart in Redis, of its row in Postgres, of a record of `carts` before compression."""

    cart: float
    row: float
    record: float


class Trial(msgspec.Struct, frozen=True):
    """Adds at a pace until all has followed: CPU seconds of each process for 1,000 adds, the longest lag."""

    rate: float
    """Adds a second that were answered."""
    cpu_s: dict[str, float]
    lag: Lag
    keeps_up: bool
    p50_ms: float
    p99_ms: float

    @property
    def total_cpu_s(self) -> float:
        """Of all processes, for 1,000 adds."""
        return sum(self.cpu_s.values())


class Round(msgspec.Struct, frozen=True):
    """Adds a second: the monolith's; the gateway's, however far behind the rest is; the highest bearable."""

    monolith: float
    filling: float
    sustained: Trial

    @property
    def ratio(self) -> float:
        """The sustained rate as a multiple of the monolith's."""
        return self.sustained.rate / self.monolith


class Loads:
    """Adds to the gateway, each time to carts of its own."""

    def __init__(self, stack: EmbeddedStack, lags: Lags) -> None:
        self._stack = stack
        self._lags = lags
        self._numbers: Iterator[int] = count(1)

    def carts(self) -> str:
        """How new carts are called, with %d for the number of each."""
        return f"user:{next(self._numbers)}-%d"

    async def add(self, carts: str, number: int, seconds: float, rate: float = 0) -> Load:
        """Add to so many carts of a name in turn: at a rate, or as fast as the gateway answers."""
        return await asyncio.to_thread(
            partial(
                run_wrk,
                "add.lua",
                self._stack.urls.gateway,
                connections=CONNECTIONS,
                seconds=seconds,
                carts=number,
                rate=rate,
                path=f"/v1/carts/{carts}/items",
            )
        )

    async def trial(self, carts: str, number: int, seconds: float, rate: float) -> Trial:
        """Add at the rate, wait until everything has followed."""
        before = self._cpu()
        work = asyncio.ensure_future(self.add(carts, number, seconds, rate))
        seen = await self._lags.during(work)
        load = await work
        await self._lags.drained()
        adds = load.requests - load.non_2xx
        spent = {name: 1000 * (after - before[name]) / adds for name, after in self._cpu().items()}
        # What was under way at the end was sent at this pace, too.
        is_kept = load.requests + CONNECTIONS >= KEPT_PACE * rate * load.seconds
        is_kept = is_kept and not (load.non_2xx or load.socket_errors)
        return Trial(
            load.rate, spent, longest(seen), is_kept and keeps_up(seen, rate), load.p50_ms, load.p99_ms
        )

    async def idle(self, seconds: float) -> dict[str, float]:
        """CPU seconds a second while nobody adds."""
        before, began = self._cpu(), time.monotonic()
        await asyncio.sleep(seconds)
        passed = time.monotonic() - began
        return {name: (after - before[name]) / passed for name, after in self._cpu().items()}

    def _cpu(self) -> dict[str, float]:
        return cpu_seconds(self._stack, list(PROCESSES))


def run(folder: Path, console: Console, period_s: float = PERIOD_S) -> dict[str, Any]:
    """CPU and bytes at windows of 1, 10 and 60 operations; then rounds of the monolith's and our rates."""
    with (
        EmbeddedStack(folder, only=COMPONENTS) as stack,
        baseline("monolith", free_ports(1)[0], stack.urls.postgres) as monolith,
    ):
        return asyncio.run(_measure(stack, monolith, period_s, console))


async def _measure(stack: EmbeddedStack, monolith: str, period_s: float, console: Console) -> dict[str, Any]:
    async with watching(stack) as lags:
        loads = Loads(stack, lags)
        await loads.add(loads.carts(), CARTS_COUNT, WARM_UP_S)
        await lags.drained()
        idle = await loads.idle(period_s / 4)
        trials, sizes = {}, {}
        for window in WINDOWS:
            trials[window], sizes[window] = await _at_window(stack, loads, lags, window, period_s / 2)
            console.print(f"window {window}: {_sentence(trials[window])}, {sizes[window]}")
        _print_costs(console, idle, trials, sizes)
        rounds = []
        for turn in range(ROUNDS):
            found = await _round(loads, lags, monolith, period_s, console)
            rounds.append(found)
            console.print(
                f"round {turn + 1}/{ROUNDS}: monolith {found.monolith:.0f}/s, gateway filled at "
                f"{found.filling:.0f}/s, sustained {found.sustained.rate:.0f}/s, ratio {found.ratio:.2f}"
            )
    _print_rounds(console, rounds, period_s)
    return {
        "idle_cpu_s": idle,
        "windows": {str(window): msgspec.to_builtins(trial) for window, trial in trials.items()},
        "bytes": {str(window): msgspec.to_builtins(found) for window, found in sizes.items()},
        "rounds": msgspec.to_builtins(rounds),
        "ratio": median(each.ratio for each in rounds),
    }


async def _at_window(
    stack: EmbeddedStack, loads: Loads, lags: Lags, window: int, seconds: float
) -> tuple[Trial, Sizes]:
    """Each cart gets `window` adds while it is measured, on top of half as many: `window` on average."""
    carts, number = loads.carts(), round(PACE * seconds / window)
    if window > 1:
        await loads.add(carts, number, seconds / 2, PACE)
        await lags.drained()
    async with RangeReader(KafkaSettings(kafka_bootstrap=stack.urls.kafka_bootstrap)) as reader:
        before = await _bounds(reader)
        trial = await loads.trial(carts, number, seconds, PACE)
        after = await _bounds(reader)
        record = await _record_bytes(
            reader, {place: OffsetRange(before[place].end, after[place].end) for place in after}
        )
    some = [carts % i for i in range(1, min(SAMPLE, number) + 1)]
    return trial, Sizes(await _cart_bytes(stack, some), await _row_bytes(stack, some), record)


async def _bounds(reader: RangeReader) -> dict[TopicPartition, OffsetRange]:
    return await reader.bounds_of([TopicPartition(CARTS.name, number) for number in range(PARTITIONS)])


async def _record_bytes(reader: RangeReader, ranges: dict[TopicPartition, OffsetRange]) -> float:
    sizes = []
    async for records in reader.read(ranges):
        for record in records:
            headers = sum(len(name) + len(value) for name, value in record.headers)
            sizes.append(len(record.key) + len(record.value or b"") + headers)
    return fmean(sizes)


async def _cart_bytes(stack: EmbeddedStack, cart_ids: list[str]) -> float:
    layout = Layout(PARTITIONS)
    async with PipelinedClient(RedisSettings(redis_url=stack.urls.redis)) as client:
        sizes = await client.execute_all(
            (b"MEMORY", b"USAGE", key, b"SAMPLES", 0)
            for keys in map(layout.of_cart, cart_ids)
            for key in (keys.cart, keys.ops, keys.win)
        )
    return sum(size or 0 for size in sizes) / len(cart_ids)


async def _row_bytes(stack: EmbeddedStack, cart_ids: list[str]) -> float:
    async with await psycopg.AsyncConnection.connect(stack.urls.postgres) as connection:
        return await mean_bytes(connection, cart_ids)


async def _round(loads: Loads, lags: Lags, monolith: str, period_s: float, console: Console) -> Round:
    """The monolith's rate, the gateway's, and between that and a quarter of it the highest that is borne."""
    rows = await asyncio.to_thread(
        partial(
            run_wrk, "add.lua", monolith, connections=CONNECTIONS, seconds=period_s / 4, carts=CARTS_COUNT
        )
    )
    filling = await loads.add(loads.carts(), CARTS_COUNT, period_s / 4)
    await lags.drained()
    low, high, sustained = filling.rate / 4, filling.rate, None
    for _ in range(HALVINGS):
        rate = (low + high) / 2
        trial = await loads.trial(loads.carts(), CARTS_COUNT, period_s, rate)
        console.print(f"  {rate:.0f}/s {'is borne' if trial.keeps_up else 'is too fast'}: {_sentence(trial)}")
        if trial.keeps_up:
            low, sustained = rate, trial
        else:
            high = rate
    if sustained is None:
        raise NothingSustained(low)
    return Round(rows.rate, filling.rate, sustained)


def _sentence(trial: Trial) -> str:
    return (
        f"{trial.rate:.0f} adds/s, {trial.total_cpu_s:.2f} CPU s for 1,000, longest lag {trial.lag.records} "
        f"records, {trial.lag.seconds:.1f} s, p50 {trial.p50_ms:.1f} ms, p99 {trial.p99_ms:.1f} ms"
    )


def _print_costs(
    console: Console, idle: dict[str, float], trials: dict[int, Trial], sizes: dict[int, Sizes]
) -> None:
    table = Table(title=f"CPU seconds for 1,000 adds at {PACE}/s, by the operations in a cart's window")
    table.add_column("")
    for heading in (*map(str, trials), "idle, a second"):
        table.add_column(heading, justify="right")
    for name in PROCESSES:
        spent = (f"{trial.cpu_s[name]:.3f}" for trial in trials.values())
        table.add_row(name, *spent, f"{idle[name]:.3f}")
    totals = (f"{trial.total_cpu_s:.3f}" for trial in trials.values())
    table.add_row("all", *totals, f"{sum(idle.values()):.3f}", style="bold")
    for field in Sizes.__struct_fields__:
        table.add_row(f"bytes a {field}", *(f"{getattr(found, field):.0f}" for found in sizes.values()), "")
    console.print(table)


def _print_rounds(console: Console, rounds: list[Round], period_s: float) -> None:
    table = Table(
        "",
        *("monolith /s", "filled /s", "sustained /s", "ratio", "lag, records", "lag, s", "CPU s, 1,000 adds"),
        title=f"the highest rate at which nothing falls behind in {period_s:g} s: {', '.join(STAGES)}",
    )
    for turn, each in enumerate(rounds, start=1):
        _add_row(table, f"round {turn}", [each])
    _add_row(table, "median", rounds)
    console.print(table)


def _add_row(table: Table, name: str, rounds: list[Round]) -> None:
    table.add_row(
        name,
        f"{median(each.monolith for each in rounds):.0f}",
        f"{median(each.filling for each in rounds):.0f}",
        f"{median(each.sustained.rate for each in rounds):.0f}",
        f"{median(each.ratio for each in rounds):.2f}",
        f"{median(each.sustained.lag.records for each in rounds):.0f}",
        f"{median(each.sustained.lag.seconds for each in rounds):.1f}",
        f"{median(each.sustained.total_cpu_s for each in rounds):.2f}",
    )
