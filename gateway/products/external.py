"""Products that another system owns: what it sends goes straight to the topic, under its own versions."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog
from aiokafka.errors import KafkaError

from carts.products import Product, ProductContent, with_version
from gateway.http import problems
from gateway.http.problems import FieldError, Problem, retry_after
from gateway.outbox.publisher import ChangePublisher
from gateway.pricing.prices import catalogue_restoring
from gateway.products.requests import PatchProduct, Sent, patched
from gateway.products.service import IfMatch, Taken, Written, not_found, require
from store.redis.catalogue import CacheNotReady, ProductCache
from topics.headers import product_headers
from topics.partitioner import partition_of
from topics.registry import PRODUCTS

log = structlog.get_logger(__name__)

_ACKNOWLEDGED_WITHIN_S: Final = 5.0
_ENCODER: Final = msgspec.json.Encoder()


class ExternalProducts:
    """Publishes to `products`. A version below the known one is refused; readers pass it over."""

    gives_versions = False

    def __init__(self, publisher: ChangePublisher, catalogue: ProductCache, partitions: int) -> None:
        self._publisher: Final = publisher
        self._catalogue: Final = catalogue
        self._partitions: Final = partitions

    async def put(self, sent: Sent, if_match: IfMatch) -> Written:
        """Publish the product as it was sent."""
        known = await self._known(sent.content.product_id)
        require(if_match, None if known is None else known.version)
        return await self._write(sent.content, sent.version, known)

    async def patch(self, product_id: str, patch: PatchProduct, if_match: IfMatch) -> Written:
        """Publish the product that is known here, with the fields of the patch.

        What is known here may lag behind what was sent last: If-Match makes sure.
        """
        known = await self._known(product_id)
        require(if_match, None if known is None else known.version)
        if known is None:
            raise not_found(product_id)
        return await self._write(patched(known, patch), patch.version, known)

    async def take(self, batch: Sequence[Sent]) -> Taken:
        """Publish all that are not older than what is known; the last of a product in a batch wins."""
        known = await self._catalogue.facts(sent.content.product_id for sent in batch)
        versions: dict[str, int] = {}
        if not isinstance(known, CacheNotReady):
            versions = {name: facts.version for name, facts in known.items() if facts is not None}
        before = dict(versions)
        errors: dict[int, FieldError] = {}
        products: dict[str, Product] = {}
        for index, sent in enumerate(batch):
            name, version = sent.content.product_id, sent.version or 0
            if version < versions.get(name, 0):
                errors[index] = FieldError("/version", _too_low(version, versions[name]))
                continue
            versions[name] = version
            products[name] = with_version(sent.content, version, datetime.now(UTC))
        await self._publish(list(products.values()))
        changed = sum(before.get(name) != product.version for name, product in products.items())
        return Taken(changed, errors)

    async def _known(self, product_id: str) -> Product | None:
        known = await self._catalogue.read(product_id)
        if isinstance(known, CacheNotReady):
            raise catalogue_restoring()
        return known

    async def _write(self, content: ProductContent, version: int | None, known: Product | None) -> Written:
        number = version or 0  # required: the routes have checked
        if known is not None and number < known.version:
            detail = _too_low(number, known.version)
            raise Problem(
                problems.VERSION_TOO_LOW,
                f"/version: {detail}.",
                errors=[FieldError("/version", detail)],
                extra={"current": str(known.version)},
            )
        product = with_version(content, number, datetime.now(UTC))
        await self._publish([product])
        return Written(product, created=known is None)

    async def _publish(self, products: Sequence[Product]) -> None:
        """Send, and wait until Kafka has all of them. Raises Problem: some may be in the topic then."""
        producer = self._publisher.producer
        if producer is None:
            raise _kafka_unavailable()
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
            raise _kafka_unavailable() from error


def _too_low(version: int, known: int) -> str:
    return f"is {version}, and version {known} is known already; send what is newest, with a higher version"


def _kafka_unavailable() -> Problem:
    return Problem(
        problems.KAFKA_UNAVAILABLE,
        "Kafka did not acknowledge the product, and may or may not have it; "
        "send it again with the same version: that never does harm.",
        headers=retry_after(1),
    )
