"""Reads what the stores contain: topics, Redis, Postgres, outboxes, dead letters."""

import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg.rows import TupleRow

from carts.state import State, Version
from cli.stack.settings import Urls
from store import CartStore, Layout, PipelinedClient, RedisSettings, StoredCart
from tests.faults.stores import Copy, Published, Stores
from topics.codec import decode_change, decode_state
from topics.records import PURGE_FLOOR_PREFIX
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, PARTITIONS

# The consumer stands through every fault, and would say so with every attempt.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

_BATCH: Final = 5000
_ROWS: Final = "SELECT cart_id, v, n, digest, lines, metadata FROM carts WHERE cart_id = ANY(%s)"


class Collector:
    """Accumulates the topics from where they ended when it was entered; reads the rest anew each time."""

    def __init__(self, urls: Urls) -> None:
        self._urls = urls
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=urls.kafka_bootstrap, max_partition_fetch_bytes=8 * 1024 * 1024
        )
        self._layout = Layout(PARTITIONS)
        self._client = PipelinedClient(RedisSettings(redis_url=urls.redis), name="faults")
        self._store = CartStore(self._client, self._layout)
        self._published: list[Published] = []
        self._records: dict[str, list[State]] = {}
        self._dead_letters = 0

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        await self._client.connect()
        names = (CART_CHANGED.name, CARTS.name, DEAD_LETTERS.name)
        partitions = [TopicPartition(name, p) for name in names for p in range(PARTITIONS)]
        self._consumer.assign(partitions)
        for partition, end in (await self._consumer.end_offsets(partitions)).items():
            self._consumer.seek(partition, end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()
        await self._consumer.stop()

    async def outbox(self) -> int:
        """How many changes wait in all outboxes. Raises StoreError while Redis does not answer."""
        return sum(depth.entries for depth in await self._store.outbox_depths())

    async def collect(self, cart_ids: Iterable[str]) -> Stores:
        """What the stores contain of these carts now."""
        wanted = set(cart_ids)
        await self._read_topics()
        return Stores(
            published=[record for record in self._published if record.change.cart_id in wanted],
            records={cart_id: states for cart_id, states in self._records.items() if cart_id in wanted},
            redis=await self._redis(wanted),
            rows=await self._rows(wanted),
            outbox=await self.outbox(),
            dead_letters=self._dead_letters,
        )

    async def _read_topics(self) -> None:
        """Reads on to where the topics end now."""
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        while [p for p, end in ends.items() if await self._consumer.position(p) < end]:
            batches = await self._consumer.getmany(timeout_ms=200, max_records=_BATCH)
            for partition, records in batches.items():
                for record in records:
                    self._take(partition, record.offset, record.key, record.value)

    def _take(self, partition: TopicPartition, offset: int, key: bytes, value: bytes | None) -> None:
        if partition.topic == CART_CHANGED.name:
            self._published.append(Published(partition.partition, offset, decode_change(value)))
        elif partition.topic == DEAD_LETTERS.name:
            self._dead_letters += 1
        elif value is not None and not key.startswith(PURGE_FLOOR_PREFIX):
            self._records.setdefault(key.decode(), []).append(decode_state(value))

    async def _redis(self, cart_ids: Iterable[str]) -> dict[str, Copy]:
        copies = {}
        for cart_id in cart_ids:
            found = await self._store.read(cart_id)
            if isinstance(found, StoredCart):
                view = found.view()
                lines = {line.line_id: line.quantity for line in view.lines}
                copies[cart_id] = Copy(view.version, lines, dict(view.metadata))
        return copies

    async def _rows(self, cart_ids: Iterable[str]) -> dict[str, Copy]:
        async with await psycopg.AsyncConnection.connect(self._urls.postgres) as connection:
            rows = await (await connection.execute(_ROWS, (list(cart_ids),))).fetchall()
        return {row[0]: _copy_of_row(row) for row in rows}


def _copy_of_row(row: TupleRow) -> Copy:
    _, v, n, digest, lines, metadata = row
    quantities = {line["line_id"]: line["quantity"] for line in lines}
    return Copy(Version(v, n, digest).tag(), quantities, metadata)
