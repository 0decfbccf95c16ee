"""Products for gateways that have a catalogue, put straight into the cache as its follower does."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import redis.asyncio

from carts.products import Product
from store.redis import PipelinedClient
from store.redis.catalogue import ProductCache, ProductDeletion, ProductsPut
from tests.gateway.cart_client import CartClient
from topics.names import IN_REDIS


def product(product_id: str = "cup", **changed: Any) -> Product:
    """A cup of 14.50 EUR, five pieces left."""
    fields: dict[str, Any] = {
        "product_id": product_id,
        "version": 1,
        "name": product_id.title(),
        "category": "kitchen",
        "unit_price": 1450,
        "currency": "EUR",
        "stock": 5,
        "updated_at": datetime(2025, 11, 25, 9, tzinfo=UTC),
    }
    return Product(**fields | changed)


class CachedProducts:
    """The catalogue's cache, filled by hand; each product gets a higher version than before."""

    def __init__(self, client: PipelinedClient) -> None:
        self._client = client
        self.cache = ProductCache(client)
        self._position: int | None = None
        self._version = 0

    def from_the_start(self) -> "CachedProducts":
        """Another one, for a cache that has lost everything."""
        return CachedProducts(self._client)

    async def put(self, *products: Product) -> None:
        """Put products into the cache, under versions given here; it is complete afterwards."""
        newest = []
        for one in products:
            self._version += 1
            newest.append(msgspec.structs.replace(one, version=self._version))
        await self.put_as_sent(*newest)

    async def put_as_sent(self, *products: Product | ProductDeletion) -> None:
        """Put products under their own versions."""
        following = await self.cache.follow(1)
        before = self._position
        self._position = (before or 0) + 1
        answer = await self.cache.put(
            0, following.generation, before, self._position, products, partitions=1, at_end=True
        )
        assert isinstance(answer, ProductsPut), answer


class CatalogueClient:
    """A client of a gateway with a catalogue, and the products in the cache behind it."""

    def __init__(self, carts: CartClient, cached_products: CachedProducts) -> None:
        self.carts = carts
        self.http = carts.http
        self.cached_products = cached_products

    async def wipe_catalogue(self) -> None:
        """Take the catalogue out of Redis; the carts stay."""
        async with redis.asyncio.Redis.from_url(self.carts.urls.redis) as client:
            await client.delete(*[key async for key in client.scan_iter(f"{IN_REDIS}{{catalogue}}:*")])

    async def refill_catalogue(self, *products: Product) -> None:
        """Fill the cache from the start, after it was wiped."""
        self.cached_products = self.cached_products.from_the_start()
        await self.cached_products.put(*products)
