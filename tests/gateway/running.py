"""The gateway's own process, and what a test wants to see of the servers behind it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from devstack.ports import free_ports
from runtime.settings import KafkaSettings
from store.redis import CartStore, Layout
from topics.headers import RecordHeaders, read_headers
from topics.registry import CART_CHANGED, PARTITIONS

ROOT = Path(__file__).parents[2]
WITHIN_SECONDS = 60.0

T = TypeVar("T")


class Urls(NamedTuple):
    """Where the servers behind a gateway answer; the database has the schema."""

    kafka_bootstrap: str
    redis: str
    postgres: str

    def environment(self) -> dict[str, str]:
        """The gateway's variables for them."""
        return {
            "CARTSTREAM_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "CARTSTREAM_REDIS_URL": self.redis,
            "CARTSTREAM_POSTGRES_URL": self.postgres,
        }


class GatewayProcess:
    """`python -m gateway.main` on a free port, or another module that runs it."""

    def __init__(self, environment: dict[str, str], folder: Path, module: str = "gateway.main") -> None:
        self._module = module
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        self._ready = folder / "ready"
        self.log = folder / "gateway.log"
        self._environment = {
            **os.environ,
            "CARTSTREAM_GATEWAY_PORT": str(self.port),
            "CARTSTREAM_READY_FILE": str(self._ready),
            "CARTSTREAM_DRAIN_S": "0.2",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        """Start it, with these variables too; returns when it serves."""
        self._ready.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                cwd=ROOT,
                env={**self._environment, **environment},
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + WITHIN_SECONDS
        while not self._ready.exists():
            code = self._process.poll()
            assert code is None, f"the gateway ended with {code}:\n{self.log.read_text()[-4000:]}"
            assert time.monotonic() < end, f"the gateway is not ready:\n{self.log.read_text()[-4000:]}"
            time.sleep(0.02)

    def workers(self) -> set[int]:
        """The pids of the processes that it has started."""
        assert self._process is not None
        return {child.pid for child in psutil.Process(self._process.pid).children()}

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, within_s: float | None = WITHIN_SECONDS) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(within_s)

    def kill(self) -> None:
        """Kill -9, and wait for the end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()


class Published(NamedTuple):
    """A record of `cart-changed` as a consumer sees it."""

    key: str
    value: bytes
    timestamp: int
    headers: RecordHeaders
    raw_headers: dict[str, bytes]


class Topic:
    """Reads `cart-changed`."""

    def __init__(self, kafka_bootstrap: str) -> None:
        self._settings = KafkaSettings(kafka_bootstrap=kafka_bootstrap)

    async def ends(self) -> dict[int, int]:
        """The end offset of each partition."""
        async with AIOKafkaConsumer(**self._settings.client_options()) as consumer:
            found = await consumer.end_offsets(
                [TopicPartition(CART_CHANGED.name, p) for p in range(PARTITIONS)]
            )
            return {tp.partition: offset for tp, offset in found.items()}

    async def at(self, receipt: str) -> Published:
        """The record that a Cart-Receipt names."""
        topic, partition, offset = receipt.split("/")
        tp = TopicPartition(topic, int(partition))
        async with AIOKafkaConsumer(**self._settings.client_options()) as consumer:
            consumer.assign([tp])
            consumer.seek(tp, int(offset))
            record = await asyncio.wait_for(consumer.getone(tp), WITHIN_SECONDS)
            assert record.offset == int(offset)
            return _published(record)

    async def since(self, starts: dict[int, int]) -> list[Published]:
        """Everything published after `starts` (from `ends`)."""
        found: list[Published] = []
        ends = await self.ends()
        async with AIOKafkaConsumer(**self._settings.client_options()) as consumer:
            for partition, end in ends.items():
                tp = TopicPartition(CART_CHANGED.name, partition)
                consumer.assign([tp])
                consumer.seek(tp, starts[partition])
                while await consumer.position(tp) < end:
                    record = await asyncio.wait_for(consumer.getone(tp), WITHIN_SECONDS)
                    found.append(_published(record))
        return found


def _published(record: Any) -> Published:
    return Published(
        record.key.decode(),
        record.value,
        record.timestamp,
        read_headers(record.headers),
        dict(record.headers),
    )


class Carts:
    """An HTTP client of a gateway, and the servers behind it."""

    def __init__(
        self, http: httpx.AsyncClient, store: CartStore, layout: Layout, topic: Topic, urls: Urls
    ) -> None:
        self.http = http
        self.store = store
        self.layout = layout
        self.topic = topic
        self.urls = urls

    async def add(
        self, cart_id: str, product_id: str = "sku-1", quantity: int = 1, **headers: str
    ) -> httpx.Response:
        """Add pieces; headers by name with underscores."""
        return await self.http.post(
            f"/v1/carts/{cart_id}/items",
            json=item(product_id, quantity),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    async def read(self, cart_id: str) -> dict[str, Any]:
        """The cart."""
        reply = await self.http.get(f"/v1/carts/{cart_id}")
        assert reply.status_code == 200, reply.text
        document: dict[str, Any] = reply.json()
        return document

    async def quantities(self, cart_id: str) -> dict[str, int]:
        """The cart's pieces by line."""
        return {line["line_id"]: line["quantity"] for line in (await self.read(cart_id))["lines"]}

    async def outbox_entries(self) -> int:
        """Entries of all outboxes."""
        return sum(depth.entries for depth in await self.store.outbox_depths())

    async def outbox_is_empty(self) -> bool:
        """Whether everything has been published and removed."""
        return await self.outbox_entries() == 0


def item(product_id: str = "sku-1", quantity: object = 1, **more: object) -> dict[str, object]:
    """The body of an add."""
    return {"product_id": product_id, "quantity": quantity, "unit_price": 1999, "currency": "EUR", **more}


async def set_ready(store: CartStore, partitions: int = PARTITIONS) -> None:
    """Mark every partition as complete, the way a restoration does."""
    for partition in range(partitions):
        token = await store.restore_begin(partition)
        assert await store.restore_finish(partition, token, 0, 0) is None


async def until(condition: Callable[[], Awaitable[T]], what: str) -> T:
    """What the condition returns once that is true. AssertionError if it does not become so."""
    end = time.monotonic() + WITHIN_SECONDS
    while True:
        answer = await condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"not in {WITHIN_SECONDS:g} s: {what}"
        await asyncio.sleep(0.05)
