"""Adds while Kafka is stopped, and while it is frozen: what callers notice, and that nothing is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from statistics import quantiles
from typing import Any
from uuid import uuid4

import httpx
import msgspec
from aiokafka import TopicPartition
from rich.console import Console
from rich.table import Table

from devstack.components import usual
from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, StackSettings
from runtime.kafka.ranges import RangeReader
from runtime.settings import KafkaSettings
from topics.codec import decode_change
from topics.registry import CART_CHANGED, PARTITIONS

CLIENTS = 16
PER_CLIENT = 20.0
CARTS = 4000
SECONDS = 10.0
TIMEOUT_S = 120.0
AGENTS = ("sink-redis", "sink-postgres", "compaction")
DEFAULT, STRICT = "default", "handling=strict"


class Add(msgspec.Struct, frozen=True):
    """One add as its client saw it: when it began (monotonic), how long it took, what was answered."""

    prefer: str
    began: float
    seconds: float
    status: int
    durability: str
    op_id: str


class Phase(msgspec.Struct, frozen=True):
    """A row of the table; latencies in milliseconds."""

    name: str
    prefer: str
    adds: int
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    answers: dict[str, int]


class Shop:
    """Clients that add at a steady pace over keep-alive connections of their own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._turn = 0
        self.adds: list[Add] = []
        self.stopping = asyncio.Event()

    async def visit(self, prefer: str) -> None:
        """Add until told to stop. Raw sockets: a client library would cost more than the gateway."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while not self.stopping.is_set():
            began = time.monotonic()
            op_id = uuid4().hex
            writer.write(self._request(op_id, prefer))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            await reader.readexactly(int(headers.get("content-length", "0")))
            taken = time.monotonic() - began
            reached = headers.get("preference-applied", "").partition(",")[0].removeprefix("durability=")
            self.adds.append(Add(prefer, began, taken, int(head[0].split()[1]), reached, op_id))
            await asyncio.sleep(max(0.0, 1 / PER_CLIENT - taken))
        writer.close()

    def _request(self, op_id: str, prefer: str) -> bytes:
        self._turn = (self._turn + 1) % CARTS
        body = b'{"product_id":"sku-1","quantity":1,"unit_price":1999,"currency":"EUR"}'
        wish = "" if prefer == DEFAULT else f"prefer: {prefer}\r\n"
        head = (
            f"POST /v1/carts/user:outage-{self._turn}/items HTTP/1.1\r\nhost: bench\r\n{wish}"
            f"content-type: application/json\r\nidempotency-key: {op_id}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Healthy, away, back again; once with the broker stopped and once with it frozen."""
    with EmbeddedStack(folder, only=usual(StackSettings())) as stack:
        for agent in AGENTS:  # the restore agent has set the markers by now
            stack.component(agent).stop()
        kafka = stack.component(KAFKA)
        return {
            "stopped": asyncio.run(_measure(stack, "stopped", kafka.stop, kafka.start, console)),
            "frozen": asyncio.run(_measure(stack, "frozen", kafka.pause, kafka.resume, console)),
        }


async def _measure(
    stack: EmbeddedStack, how: str, harm: Callable[[], None], heal: Callable[[], None], console: Console
) -> dict[str, Any]:
    shop = Shop(stack.settings.gateway_port)
    async with httpx.AsyncClient(base_url=stack.urls.gateway) as http, asyncio.TaskGroup() as group:
        await _until(partial(_sees_kafka, http, "ok"))
        for number in range(CLIENTS):
            group.create_task(shop.visit(STRICT if number == 0 else DEFAULT))
        await asyncio.sleep(SECONDS / 2)  # warm
        healthy = time.monotonic()
        await asyncio.sleep(SECONDS)
        gone = time.monotonic()
        harming = asyncio.create_task(asyncio.to_thread(harm))
        await _until(partial(_sees_kafka, http, "degraded"))
        opened = time.monotonic()
        await harming
        away = max(opened, time.monotonic())
        await asyncio.sleep(SECONDS)
        healing = time.monotonic()
        await asyncio.to_thread(heal)
        healed = time.monotonic()
        await _until(partial(_sees_kafka, http, "ok"))
        closed = time.monotonic()
        await _until(partial(_outbox_is_empty, http))
        drained = time.monotonic()
        await asyncio.sleep(SECONDS)
        shop.stopping.set()
        end = time.monotonic()
    lost = await _lost(stack.urls.kafka_bootstrap, shop.adds)
    phases = [
        _phase(
            name, prefer, [add for add in shop.adds if add.prefer == prefer and begin <= add.began < until]
        )
        for name, begin, until in (
            ("healthy", healthy, gone),
            ("noticing", gone, opened),
            ("breaker open", away, healing),
            ("back", drained, end),
        )
        for prefer in (DEFAULT, STRICT)
    ]
    _print(console, how, phases)
    default = {phase.name: phase for phase in phases if phase.prefer == DEFAULT}
    figures = {
        "p99_ratio": default["breaker open"].p99_ms / default["healthy"].p99_ms,
        "opened_after_s": opened - gone,
        "closed_after_s": closed - healed,
        "drained_after_s": drained - healed,
        "acknowledged": sum(add.status == HTTPStatus.OK for add in shop.adds),
        "lost": lost,
    }
    console.print("  ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    return figures | {"phases": [msgspec.to_builtins(phase) for phase in phases]}


def _phase(name: str, prefer: str, adds: list[Add]) -> Phase:
    times = sorted(add.seconds * 1000 for add in adds) or [0.0]
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    answers = Counter(f"{add.status} {add.durability}" for add in adds)
    return Phase(name, prefer, len(adds), cuts[49], cuts[98], times[-1], dict(answers))


def _print(console: Console, how: str, phases: list[Phase]) -> None:
    pace = f"{CLIENTS} clients, {CLIENTS * PER_CLIENT:.0f} adds/s"
    table = Table(title=f"Kafka {how}: {pace}")
    for heading in ("phase", "Prefer", "adds", "p50 ms", "p99 ms", "slowest ms", "answers"):
        table.add_column(heading, justify="left" if heading in {"phase", "Prefer", "answers"} else "right")
    for phase in phases:
        times = (f"{value:.1f}" for value in (phase.p50_ms, phase.p99_ms, phase.slowest_ms))
        answers = ", ".join(f"{answer}: {count}" for answer, count in sorted(phase.answers.items()))
        table.add_row(phase.name, phase.prefer, str(phase.adds), *times, answers)
    console.print(table)


async def _lost(bootstrap: str, adds: list[Add]) -> int:
    """How many adds that the cart kept (200, or 503 with what was reached) `cart-changed` lacks."""
    kept = {add.op_id for add in adds if add.durability}
    partitions = [TopicPartition(CART_CHANGED.name, number) for number in range(PARTITIONS)]
    async with RangeReader(KafkaSettings(kafka_bootstrap=bootstrap)) as reader:
        async for records in reader.read(await reader.bounds_of(partitions)):
            kept -= {decode_change(record.value).op_id for record in records}
    return len(kept)


async def _sees_kafka(http: httpx.AsyncClient, status: str) -> bool:
    checks = (await http.get("/health/ready")).json()["checks"]
    return bool(checks["kafka"]["status"] == status)


async def _outbox_is_empty(http: httpx.AsyncClient) -> bool:
    """Nothing in it but what is on its way to Kafka just now."""
    lines = (await http.get("/metrics")).text.splitlines()
    entries = next(line for line in lines if line.startswith("cartstream_gateway_redis_outbox_entries "))
    return float(entries.split()[1]) < CLIENTS * PER_CLIENT


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not await condition():  # noqa: ASYNC110  the answer is another process's
            await asyncio.sleep(0.05)
