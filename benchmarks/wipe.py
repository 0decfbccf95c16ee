"""How long a wiped Redis is away under load, and when it is warm: the real processes after FLUSHALL."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import msgspec
import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.produce import Produced, copies, produce
from devstack.embedded import EmbeddedStack
from devstack.settings import POSTGRES
from store.postgres import carts
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from store.redis.packing import unpack_head
from topics.headers import version_header
from topics.registry import PARTITIONS

SIZES = (20_000, 200_000)
RECORDS = 500_000
ROUNDS = 3
WRITERS = 8
WRITES_PER_S = 200.0
POLL_S = 0.02
WITHIN_S = 900.0
COMPONENTS = (
    *("redis", "kafka", "postgres", "topics", "migrate"),
    *("gateway", "compaction", "sink-postgres", "sink-redis"),
)


class Recovery(msgspec.Struct, frozen=True):
    """Seconds after FLUSHALL: the first change acknowledged, all partitions open, all carts in Redis again.

    `postgres_cores`: CPU of Postgres from the opening until Redis was warm, in cores; `p99_ms` is that of the
    writes meanwhile, tries that were refused not counted. Both also before the wipe. `written` counts the
    changes acknowledged until all was open, `refused` those answered with 503. `wrong` are carts that are not
    what was acknowledged.
    """

    first_write_s: float
    open_s: float
    warm_s: float
    postgres_cores: float
    before_cores: float
    p99_ms: float
    before_p99_ms: float
    written: int
    refused: int
    wrong: int


class Writers:
    """Clients that add to carts of their own at a steady pace, whatever becomes of it."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self.acknowledged: Counter[str] = Counter()
        self.refused = 0
        self.took_s: list[float] = []
        """Of each write acknowledged, its last try."""
        self.last_began = 0.0
        """When the change was begun that was acknowledged last."""

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write meanwhile; at the end every change that was begun is acknowledged."""
        async with httpx.AsyncClient(base_url=self._gateway, timeout=30) as client:
            stop = asyncio.Event()
            tasks = [asyncio.create_task(self._write(client, number, stop)) for number in range(WRITERS)]
            try:
                yield
            finally:
                stop.set()
                await asyncio.gather(*tasks)

    async def _write(self, client: httpx.AsyncClient, number: int, stop: asyncio.Event) -> None:
        body = {"product_id": "sku", "quantity": 1, "unit_price": 1999, "currency": "EUR"}
        at = 0
        while not stop.is_set():
            began = time.perf_counter()
            cart_id = f"user:other-{number}-{at % 200}"
            await self._until_acknowledged(client, cart_id, f"{number}-{at}-{time.time_ns()}", body)
            at += 1
            await asyncio.sleep(WRITERS / WRITES_PER_S - (time.perf_counter() - began))

    async def _until_acknowledged(
        self, client: httpx.AsyncClient, cart_id: str, key: str, body: dict[str, Any]
    ) -> None:
        while True:
            began = time.perf_counter()
            answer = await client.post(
                f"/v1/carts/{cart_id}/items", json=body, headers={"idempotency-key": key}
            )
            if answer.headers.get("preference-applied") == "durability=kafka":
                self.acknowledged[cart_id] += 1
                self.took_s.append(time.perf_counter() - began)
                self.last_began = began
                return
            self.refused += answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            await asyncio.sleep(POLL_S)


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Wipe a Redis of 20,000 and one of 200,000 carts, each with 500,000 records in `carts`, three times."""
    return {str(size): _run(folder / str(size), size, console) for size in SIZES}


def _run(folder: Path, size: int, console: Console) -> dict[str, Any]:
    stack = EmbeddedStack(folder, only=COMPONENTS)
    stack.open()
    versions: dict[str, str] = {}
    try:
        console.print(f"producing {RECORDS} records of {size} carts ...")
        stack.ensure("topics")
        produce(stack.urls.kafka_bootstrap, _noted(copies(RECORDS, size), versions))
        stack.ensure(*COMPONENTS)
        found = asyncio.run(_measure(stack, versions, console))
    finally:
        stack.stop()
    _print(console, size, found)
    return {field: median(getattr(each, field) for each in found) for field in Recovery.__struct_fields__}


def _noted(records: Iterator[Produced], versions: dict[str, str]) -> Iterator[Produced]:
    for record in records:
        version = version_header(record.headers)
        assert version is not None
        versions[record.key.decode()] = version.tag()
        yield record


async def _measure(stack: EmbeddedStack, versions: dict[str, str], console: Console) -> list[Recovery]:
    settings = RedisSettings(redis_url=stack.urls.redis, redis_timeout_s=30)
    found: list[Recovery] = []
    async with PipelinedClient(settings) as client:
        store = CartStore(client, Layout(PARTITIONS))
        await _rows_written(stack.urls.postgres, len(versions), console)
        await _all_ready(store)
        await _all_warm(store)
        writers = Writers(stack.urls.gateway)
        for turn in range(ROUNDS):
            measured = await _wipe(stack, client, store, writers, versions)
            found.append(measured)
            console.print(f"{len(versions)} carts, {turn + 1}/{ROUNDS}: {measured}")
    return found


async def _wipe(
    stack: EmbeddedStack,
    client: PipelinedClient,
    store: CartStore,
    writers: Writers,
    versions: dict[str, str],
) -> Recovery:
    async with writers.writing():
        await asyncio.sleep(3)  # a load that is there already
        writers.took_s.clear()
        cpu, began = _postgres_cpu_s(stack), time.perf_counter()
        await asyncio.sleep(5)
        before_cores = (_postgres_cpu_s(stack) - cpu) / (time.perf_counter() - began)
        before_p99_ms = _p99_ms(writers.took_s)
        written, refused, began = writers.acknowledged.total(), writers.refused, time.perf_counter()
        await client.execute("FLUSHALL")
        first = asyncio.create_task(_first_write(writers, time.perf_counter()))
        await _all_ready(store)
        opened = time.perf_counter()
        first_write = await first
        written, refused = writers.acknowledged.total() - written, writers.refused - refused
        writers.took_s.clear()
        cpu = _postgres_cpu_s(stack)
        await _all_warm(store)
        p99_ms = _p99_ms(writers.took_s)
        warm = time.perf_counter()
        cores = (_postgres_cpu_s(stack) - cpu) / (warm - opened)
    return Recovery(
        first_write - began,
        opened - began,
        warm - began,
        cores,
        before_cores,
        p99_ms,
        before_p99_ms,
        written,
        refused,
        await _wrong(stack, client, writers, versions),
    )


def _p99_ms(took_s: list[float]) -> float:
    return 1000 * quantiles(took_s, n=100)[-1]


async def _first_write(writers: Writers, wiped: float) -> float:
    async def has_written() -> bool:
        return writers.last_began >= wiped

    await _until(has_written)
    return time.perf_counter()


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(POLL_S)


async def _wrong(
    stack: EmbeddedStack, client: PipelinedClient, writers: Writers, versions: dict[str, str]
) -> int:
    """How many carts are not what was produced or acknowledged, in Redis itself and over HTTP."""
    layout, wrong = Layout(PARTITIONS), 0
    ids = list(versions)
    for at in range(0, len(ids), 1000):
        some = ids[at : at + 1000]
        heads = await client.execute_all(("HGET", layout.of_cart(cart_id).cart, "m") for cart_id in some)
        for cart_id, head in zip(some, heads, strict=True):
            number, count = map(int, versions[cart_id].split("-")[:2])
            found = unpack_head(head) if head is not None else None
            wrong += found is None or (found.version_number, found.operation_count) != (number, count)
    async with httpx.AsyncClient(base_url=stack.urls.gateway, timeout=30) as http:
        for cart_id, adds in writers.acknowledged.items():
            lines = (await http.get(f"/v1/carts/{cart_id}")).json()["lines"]
            wrong += [line["quantity"] for line in lines] != [adds]
    return wrong


def _postgres_cpu_s(stack: EmbeddedStack) -> float:
    """CPU seconds of all processes of Postgres so far."""
    server = psutil.Process(stack.component(POSTGRES).pid)
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


async def _all_ready(store: CartStore) -> None:
    async def are_ready() -> bool:
        return len(await store.ready_partitions()) == PARTITIONS

    await _until(are_ready)


async def _all_warm(store: CartStore) -> None:
    async def are_warm() -> bool:
        return not any([await store.cold(partition) is not None for partition in range(PARTITIONS)])

    await _until(are_warm)


async def _rows_written(postgres_url: str, size: int, console: Console) -> None:
    """Wait until the sink has come up: it would take part in the measurement."""
    async with (
        asyncio.timeout(WITHIN_S),
        await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection,
    ):
        while (rows := await carts.count(connection)) < size:
            console.print(f"rows in Postgres: {rows} of {size}")
            await asyncio.sleep(2)


def _print(console: Console, size: int, found: list[Recovery]) -> None:
    table = Table(title=f"{size} carts, {RECORDS} records, after FLUSHALL under load: medians of {ROUNDS}")
    headings = ("first write, s", "all open, s", "warm, s", "Postgres, cores", "before")
    for heading in (*headings, "p99 of writes, ms", "before", "written", "503", "wrong carts"):
        table.add_column(heading, justify="right")
    figures = [median(getattr(each, field) for each in found) for field in Recovery.__struct_fields__]
    table.add_row(*(f"{figure:.2f}" for figure in figures[:7]), *(f"{n:.0f}" for n in figures[7:]))
    console.print(table)
