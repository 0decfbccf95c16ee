"""Products that another system owns: what it sends goes straight to the topic, with its own versions."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog
from aiokafka.errors import KafkaError

from carts.products import Product, ProductContent, with_version
from gateway.http.conditions import Preconditions
from gateway.http.problems import FieldError, Problem
from gateway.outbox.publisher import ChangePublisher
from gateway.pricing.problems import catalogue_restoring
from gateway.products import problems
from gateway.products.requests import (
    ImportProduct,
    PatchProduct,
    SentProduct,
    error_of,
    imported,
    patched,
)
from gateway.products.service import BatchResult, WriteResult, check_preconditions
from store.redis.catalogue import CacheNotReady, ProductCache
from topics.headers import product_headers
from topics.partitioner import partition_of
from topics.registry import PRODUCTS

log = structlog.get_logger(__name__)

_ACKNOWLEDGED_WITHIN_S: Final = 5.0
_ENCODER: Final = msgspec.json.Encoder()


class ExternalProducts:
    """Publishes to the topic `products`. A version below the known one is refused, and readers skip it."""

    gives_versions = False

    def __init__(self, publisher: ChangePublisher, catalogue: ProductCache, partitions: int) -> None:
        self._publisher: Final = publisher
        self._catalogue: Final = catalogue
        self._partitions: Final = partitions

    async def put(self, sent: SentProduct, preconditions: Preconditions) -> WriteResult:
        """Publish the product as it was sent."""
        known = await self._known(sent.content.product_id)
        check_preconditions(preconditions, known)
        return await self._write(sent.content, sent.version, known)

    async def patch(self, product_id: str, patch: PatchProduct, preconditions: Preconditions) -> WriteResult:
        """Publish the known product with the fields of the patch.

        The known product may lag behind the last one sent; a precondition rules that out.
        """
        known = await self._known(product_id)
        check_preconditions(preconditions, known)
        if known is None:
            raise problems.product_not_found(product_id)
        return await self._write(patched(known, patch), patch.version, known)

    async def put_many(self, batch: Sequence[ImportProduct]) -> BatchResult:
        """Publish all that are not older than the known ones, line after line; `patch` says what is known."""
        found = await self._catalogue.read_many(list(dict.fromkeys(line.product_id for line in batch)))
        if isinstance(found, CacheNotReady):
            raise catalogue_restoring()
        known = {product.product_id: product for product in found}
        products: dict[str, Product] = {}
        errors: dict[int, FieldError] = {}
        for index, line in enumerate(batch):
            name, version = line.product_id, line.version or 0  # the import has checked that there is one
            before = products.get(name) or known.get(name)
            if before is not None and version < before.version:
                errors[index] = FieldError("/version", problems.too_low(version, before.version))
                continue
            try:
                content = imported(line, known.get(name), products.get(name))
            except Problem as problem:
                errors[index] = error_of(problem)
            else:
                products[name] = with_version(content, version, datetime.now(UTC))
        await self._publish(list(products.values()))
        changed = sum(
            name not in known or known[name].version != product.version for name, product in products.items()
        )
        return BatchResult(changed, errors)

    async def _known(self, product_id: str) -> Product | None:
        known = await self._catalogue.read(product_id)
        if isinstance(known, CacheNotReady):
            raise catalogue_restoring()
        return known

    async def _write(
        self, content: ProductContent, version: int | None, known: Product | None
    ) -> WriteResult:
        number = version or 0  # the routes have checked that there is one
        if known is not None and number < known.version:
            raise problems.version_too_low(number, known.version)
        product = with_version(content, number, datetime.now(UTC))
        await self._publish([product])
        return WriteResult(product, created=known is None)

    async def _publish(self, products: Sequence[Product]) -> None:
        """Send, and wait until Kafka has all of them. Raises Problem; some may be in the topic then."""
        producer = self._publisher.producer
        if producer is None:
            raise problems.not_acknowledged()
        try:
            async with asyncio.timeout(_ACKNOWLEDGED_WITHIN_S):
                sent = [
                    await producer.send(
                        PRODUCTS.name,
                        _ENCODER.encode(product),
                        product.product_id.encode(),
                        partition_of(product.product_id.encode(), self._partitions),
                        headers=product_headers(product),
                    )
                    for product in products
                ]
                await asyncio.gather(*sent)
        except (KafkaError, TimeoutError) as error:
            log.warning("products.not_published", products=len(products), error=repr(error))
            raise problems.not_acknowledged() from error
