"""Reads what the stores contain: topics, Redis, Postgres, outboxes, catalogue, mails, dead letters."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

import msgspec
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg.rows import TupleRow

from carts.products import Product
from carts.state import State, Version
from sinks.mail.message import MailKind
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings, StoredCart
from store.redis.catalogue import ProductCache
from tests.faults.sales import Kept, Sales
from tests.faults.stores import Copy, Published, Stores, copy_of
from tests.faults.testbed import Testbed
from topics.codec import decode_change, decode_order, decode_state
from topics.records import PURGE_FLOOR_PREFIX, OrderRecord
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, ORDERS

# The consumer stands through every fault, and would say so with every attempt.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

_BATCH: Final = 5000
_order: Final = msgspec.json.Decoder(OrderRecord)
_state: Final = msgspec.json.Decoder(State)
_ROWS: Final = "SELECT cart_id, v, n, digest, lines, metadata, state::text FROM carts WHERE cart_id = ANY(%s)"
_ORDERS: Final = """
SELECT document::text, idempotency_key, settled_at IS NOT NULL
FROM orders WHERE cart_id = ANY(%s) ORDER BY cart_id, seq
"""
_PRODUCTS: Final = "SELECT to_jsonb(products) FROM products"
_WAITING: Final = "SELECT count(*) FROM outbox"


class Collector:
    """Accumulates the topics from where they ended when it was entered; reads the rest anew each time."""

    def __init__(self, testbed: Testbed) -> None:
        self._urls = urls = testbed.urls
        self._post = testbed.smtp
        self._partitions = testbed.topology.partitions
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=urls.kafka_bootstrap, max_partition_fetch_bytes=8 * 1024 * 1024
        )
        self._layout = Layout(self._partitions)
        self._client = PipelinedClient(RedisSettings(redis_url=urls.redis), name="faults")
        self._store = CartStore(self._client, self._layout)
        self._cache = ProductCache(self._client)
        self._published: list[Published] = []
        self._records: dict[str, list[State]] = {}
        self._told: dict[str, list[OrderRecord]] = {}
        self._dead_letters = 0

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        await self._client.connect()
        names = (CART_CHANGED.name, CARTS.name, ORDERS.name, DEAD_LETTERS.name)
        partitions = [TopicPartition(name, p) for name in names for p in range(self._partitions)]
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
        redis, rows = await self.copies(wanted)
        return Stores(
            published=[record for record in self._published if record.change.cart_id in wanted],
            records={cart_id: states for cart_id, states in self._records.items() if cart_id in wanted},
            redis=redis,
            rows=rows,
            outbox=await self.outbox(),
            dead_letters=self._dead_letters,
            sales=await self._sales(wanted),
        )

    async def copies(self, cart_ids: Iterable[str]) -> tuple[dict[str, Copy], dict[str, Copy]]:
        """What Redis and Postgres have of these carts now, whatever has become of the topics."""
        return await self._redis(cart_ids), await self._rows(cart_ids)

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
        elif partition.topic == ORDERS.name:
            self._told.setdefault(key.decode(), []).append(decode_order(value))
        elif partition.topic == DEAD_LETTERS.name:
            self._dead_letters += 1
        elif value is None:
            # Nothing is purged within a run: what has a tombstone is gone, whatever stands before it.
            self._records.pop(key.decode(), None)
        elif not key.startswith(PURGE_FLOOR_PREFIX):
            self._records.setdefault(key.decode(), []).append(decode_state(value))

    async def _redis(self, cart_ids: Iterable[str]) -> dict[str, Copy]:
        copies = {}
        for cart_id in cart_ids:
            found = await self._store.read(cart_id)
            if isinstance(found, StoredCart):
                view = found.view()
                lines = {line.line_id: line.quantity for line in view.lines}
                saved = {line.line_id: line.quantity for line in view.saved}
                copies[cart_id] = Copy(view.version, lines, dict(view.metadata), view.details.email, saved)
        return copies

    async def _rows(self, cart_ids: Iterable[str]) -> dict[str, Copy]:
        async with await psycopg.AsyncConnection.connect(self._urls.postgres) as connection:
            rows = await (await connection.execute(_ROWS, (list(cart_ids),))).fetchall()
        return {row[0]: _copy_of_row(row) for row in rows}

    async def _sales(self, cart_ids: set[str]) -> Sales:
        async with await psycopg.AsyncConnection.connect(self._urls.postgres) as connection:
            orders = await (await connection.execute(_ORDERS, (list(cart_ids),))).fetchall()
            products = await (await connection.execute(_PRODUCTS)).fetchall()
            ((waiting,),) = await (await connection.execute(_WAITING)).fetchall()
        table = {row["product_id"]: msgspec.convert(row, Product) for (row,) in products}
        cached = await asyncio.gather(*(self._cache.read(product_id) for product_id in table))
        mails = Counter(_about(mail["Message-ID"]) for mail in self._post.mails)
        return Sales(
            orders=[Kept(_order.decode(document), key, settled) for document, key, settled in orders],
            told={
                order_id: records
                for order_id, records in self._told.items()
                if records[0].cart_id in cart_ids
            },
            table=table,
            cache={
                name: found if isinstance(found, Product) else None
                for name, found in zip(table, cached, strict=True)
            },
            waiting=waiting,
            confirmations=_mails(mails, MailKind.CONFIRMATION),
            cancellations=_mails(mails, MailKind.CANCELLATION),
        )


def _about(message_id: str) -> tuple[str, str]:
    """The order and the kind of mail that a Message-ID names: `<order.kind@domain>`."""
    order_id, _, kind = message_id.strip().strip("<>").partition("@")[0].rpartition(".")
    return order_id, f"{kind}_mail"


def _mails(mails: Counter[tuple[str, str]], kind: MailKind) -> dict[str, int]:
    return {order_id: count for (order_id, each), count in mails.items() if each == kind}


def _copy_of_row(row: TupleRow) -> Copy:
    """The cart as the columns tell it, and what only the state in its row has."""
    _, v, n, digest, lines, metadata, state = row
    quantities = {line["line_id"]: line["quantity"] for line in lines}
    whole = copy_of(_state.decode(state))
    return Copy(Version(v, n, digest).tag(), quantities, metadata, whole.email, whole.saved)
