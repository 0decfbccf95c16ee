"""How long a wiped Redis is away: the real agent and gateway after FLUSHALL, idle and under load."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import msgspec
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.produce import produce, states
from devstack.embedded import EmbeddedStack
from store.postgres import carts
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from topics.registry import PARTITIONS

CARTS = 200_000
ROUNDS = 3
WRITERS = 8
WRITES_PER_S = 200.0
POLL_S = 0.02
WITHIN_S = 600.0
COMPONENTS = (
    *("redis", "kafka", "postgres", "topics", "migrate"),
    *("gateway", "compaction", "sink-postgres", "sink-redis"),
)


class Recovery(msgspec.Struct, frozen=True):
    """Seconds after FLUSHALL: a read answered at all, with the restored cart, and all partitions ready.

    `written` counts the changes of other carts acknowledged meanwhile, `refused` those answered with 503.
    """

    answered_s: float
    wished_s: float
    all_s: float
    written: int
    refused: int


class Writers:
    """Clients that add to carts of their own at a steady pace, whatever becomes of it."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self.written = 0
        self.refused = 0

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write meanwhile."""
        async with httpx.AsyncClient(base_url=self._gateway, timeout=30) as client:
            tasks = [asyncio.create_task(self._write(client, number)) for number in range(WRITERS)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, client: httpx.AsyncClient, number: int) -> None:
        body = {"product_id": "sku", "quantity": 1, "unit_price": 1999, "currency": "EUR"}
        at = 0
        while True:
            began = time.perf_counter()
            answer = await client.post(f"/v1/carts/user:other-{number}-{at % 500}/items", json=body)
            self.written += answer.status_code == httpx.codes.OK
            self.refused += answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            at += 1
            await asyncio.sleep(WRITERS / WRITES_PER_S - (time.perf_counter() - began))


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Wipe a Redis of 200,000 carts of 3 lines, three times idle and three times under load."""
    stack = EmbeddedStack(folder, only=COMPONENTS)
    stack.open()
    try:
        console.print(f"producing {CARTS} carts ...")
        stack.ensure("topics")
        produce(stack.urls.kafka_bootstrap, states(CARTS))
        stack.ensure(*COMPONENTS)
        found = asyncio.run(_measure(stack, console))
    finally:
        stack.stop()
    _print(console, found)
    return {
        name: {field: median(getattr(each, field) for each in some) for field in Recovery.__struct_fields__}
        for name, some in found.items()
    }


async def _measure(stack: EmbeddedStack, console: Console) -> dict[str, list[Recovery]]:
    settings = RedisSettings(redis_url=stack.urls.redis, redis_timeout_s=30)
    found: dict[str, list[Recovery]] = {"idle": [], "under load": []}
    async with PipelinedClient(settings) as client:
        store = CartStore(client, Layout(PARTITIONS))
        await _all_ready(store, console)
        await _rows_written(stack.urls.postgres, console)
        for name, rounds in found.items():
            for turn in range(ROUNDS):
                writers = Writers(stack.urls.gateway)
                if name == "idle":
                    measured = await _wipe(stack, client, store, writers, turn, console)
                else:
                    async with writers.writing():
                        await asyncio.sleep(2)  # a load that is there already
                        measured = await _wipe(stack, client, store, writers, turn, console)
                rounds.append(measured)
                console.print(
                    f"{name} {turn + 1}/{ROUNDS}  a read answered {measured.answered_s:.2f} s  "
                    f"the wished cart {measured.wished_s:.2f} s  all {measured.all_s:.2f} s  "
                    f"written {measured.written}  refused {measured.refused}"
                )
    return found


async def _wipe(
    stack: EmbeddedStack,
    client: PipelinedClient,
    store: CartStore,
    writers: Writers,
    turn: int,
    console: Console,
) -> Recovery:
    writers.written = writers.refused = 0
    began = time.perf_counter()
    await client.execute("FLUSHALL")
    # Another cart each time, so that it is in another partition.
    wished = asyncio.create_task(_wished(stack.urls.gateway, f"user:bench-{CARTS // 2 + turn}", began))
    await _all_ready(store, console)
    all_s = time.perf_counter() - began
    answered_s, wished_s = await wished
    return Recovery(answered_s, wished_s, all_s, writers.written, writers.refused)


async def _wished(gateway: str, cart_id: str, began: float) -> tuple[float, float]:
    """Seconds until a read of the cart is answered, and until it shows Redis's copy, as a shopper asks."""
    answered: float | None = None
    async with httpx.AsyncClient(base_url=gateway, timeout=30) as client:
        while True:
            answer = await client.get(f"/v1/carts/{cart_id}")
            if answer.status_code == httpx.codes.OK and len(answer.json()["lines"]) == 3:  # noqa: PLR2004
                now = time.perf_counter() - began
                answered = now if answered is None else answered
                if "cart-freshness" not in answer.headers:
                    return answered, now
            await asyncio.sleep(POLL_S)


async def _all_ready(store: CartStore, console: Console) -> None:
    told = time.monotonic()
    async with asyncio.timeout(WITHIN_S):
        while len(ready := await store.ready_partitions()) < PARTITIONS:
            if time.monotonic() - told > 1:
                told = time.monotonic()
                console.print(f"restored {len(ready)} of {PARTITIONS} partitions")
            await asyncio.sleep(POLL_S)


async def _rows_written(postgres_url: str, console: Console) -> None:
    """Wait until the sink has come up: it would take part in the measurement."""
    async with (
        asyncio.timeout(WITHIN_S),
        await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection,
    ):
        while True:
            rows = await carts.count(connection)
            if rows >= CARTS:
                return
            console.print(f"rows in Postgres: {rows} of {CARTS}")
            await asyncio.sleep(2)


def _print(console: Console, found: dict[str, list[Recovery]]) -> None:
    table = Table(title=f"{CARTS} carts after FLUSHALL, medians of {ROUNDS} rounds, seconds")
    for heading in ("", "a read answered", "the wished cart", "all carts", "written", "refused (503)"):
        table.add_column(heading, justify="right")
    for name, some in found.items():
        figures = [median(getattr(each, field) for each in some) for field in Recovery.__struct_fields__]
        table.add_row(name, *(f"{figure:.2f}" for figure in figures[:3]), *(f"{n:.0f}" for n in figures[3:]))
    console.print(table)
