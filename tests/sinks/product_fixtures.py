"""Products as their owner publishes them, and the product cache seen from outside."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer

from carts.products import Product
from runtime.settings import KafkaSettings
from sinks.redis.products import CatalogueFollower
from sinks.redis.settings import RedisSinkSettings
from store.redis import PipelinedClient
from store.redis.catalogue import CacheNotReady, ProductCache, ProductDeletion
from tests.support.topics import records_of
from tests.support.waiting import PATIENCE_S, until
from topics.codec import encode_product
from topics.headers import Headers, product_headers, product_tombstone_headers
from topics.names import IN_REDIS
from topics.partitioner import partition_of
from topics.registry import PARTITIONS, PRODUCTS

AT = datetime(2025, 11, 25, 9, 0, tzinfo=UTC)


def new_product(version: int = 1, *, of: str | None = None, **fields: Any) -> Product:
    """A product that no other test has, or another version `of` one."""
    product_id = of or f"p-{uuid.uuid4().hex}"
    given = {"name": f"Product {product_id}", "unit_price": 100, "currency": "EUR", **fields}
    return Product(product_id=product_id, version=version, updated_at=AT, **given)


class ProductPublisher:
    """Publishes products the way their owner's relay does."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def publish(self, *changes: Product | ProductDeletion) -> None:
        """Publish records in this order, acknowledged."""
        sent = []
        for change in changes:
            if isinstance(change, ProductDeletion):
                headers = product_tombstone_headers(change.product_id, change.version, AT)
                sent.append(await self.send(change.product_id.encode(), None, headers))
            else:
                key = change.product_id.encode()
                sent.append(await self.send(key, encode_product(change), product_headers(change)))
        await asyncio.gather(*sent)

    async def send(
        self, key: bytes, value: bytes | None, headers: Headers, *, partition: int | None = None
    ) -> "asyncio.Future[Any]":
        """Hand a record over; the future is its acknowledgement."""
        p = partition_of(key, PARTITIONS) if partition is None else partition
        future: asyncio.Future[Any] = await self._producer.send(PRODUCTS.name, value, key, p, headers=headers)
        return future


class CacheView:
    """The cache of a test's Redis."""

    def __init__(self, settings: RedisSinkSettings, client: PipelinedClient) -> None:
        self.settings = settings
        self.client = client
        self.cache = ProductCache(client)

    async def complete(self) -> None:
        """Wait until the cache is complete."""
        await until(self.cache.ready, "the catalogue is complete")

    async def shows(self, *products: Product) -> None:
        """Wait until the cache has just these versions."""

        async def has_all() -> bool:
            found = await self.cache.facts(product.product_id for product in products)
            return not isinstance(found, CacheNotReady) and all(
                facts is not None and facts.version == product.version
                for product, facts in zip(products, found.values(), strict=True)
            )

        await until(has_all, "the catalogue shows the products")
        assert await self.cache.read(products[-1].product_id) == products[-1]

    async def wipe_products(self) -> None:
        """Delete the keys of the catalogue, one by one."""
        for key in await self.client.execute("KEYS", f"{IN_REDIS}{{catalogue}}:*"):
            await self.client.execute("DEL", key)


@asynccontextmanager
async def running_follower(settings: RedisSinkSettings) -> AsyncIterator[CatalogueFollower]:
    """A follower whose partitions are at their end."""
    ready = asyncio.Event()
    async with PipelinedClient(settings) as client:
        follower = CatalogueFollower(settings, client)
        task = asyncio.create_task(follower.run(ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        try:
            if task.done():
                task.result()
            assert ready.is_set(), f"the follower is not ready within {PATIENCE_S:g} s"
            yield follower
        finally:
            task.cancel()
            waiting.cancel()
            await asyncio.gather(task, waiting, return_exceptions=True)


async def last_records(kafka: KafkaSettings, topic: str, keys: Iterable[str]) -> dict[str, Any]:
    """The last record of each key that the topic has now."""
    wanted = {key.encode() for key in keys}
    return {record.key.decode(): record for record in await records_of(kafka, topic) if record.key in wanted}
