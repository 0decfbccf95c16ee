"""A client of a gateway, and what a test wants to see of the servers behind it."""

from typing import Any, Final, NamedTuple

import httpx
from aiokafka.structs import ConsumerRecord

from runtime.settings import KafkaSettings
from store.redis import CartStore, Layout
from tests.support.servers import Urls
from tests.support.topics import ends_of, records_of
from topics.codec import decode_change
from topics.headers import RecordHeaders, read_headers
from topics.registry import CART_CHANGED, PARTITIONS

PATIENT: Final = {
    "CARTSTREAM_PUBLISH_WAIT_S": "10",
    "CARTSTREAM_REDIS_TIMEOUT_S": "10",
    "CARTSTREAM_REQUEST_DEADLINE_S": "40",
}
"""A gateway that waits for servers which have other work, where a test is not about its waits."""


class Published(NamedTuple):
    """A record of `cart-changed` as a consumer sees it."""

    key: str
    value: bytes
    timestamp: int
    headers: RecordHeaders
    raw_headers: dict[str, bytes]


class Topic:
    """Reads `cart-changed`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def ends(self) -> dict[int, int]:
        """The end offset of each partition."""
        return await ends_of(self._kafka, CART_CHANGED.name)

    async def at(self, receipt: str) -> Published:
        """The record that a Cart-Receipt names."""
        topic, partition, offset = receipt.split("/")
        found = await records_of(self._kafka, topic, [int(partition)], {int(partition): int(offset)})
        assert found[0].offset == int(offset)
        return _published(found[0])

    async def since(self, starts: dict[int, int]) -> list[Published]:
        """Everything published after `starts` (from `ends`)."""
        return [
            _published(record) for record in await records_of(self._kafka, CART_CHANGED.name, starts=starts)
        ]


def _published(record: ConsumerRecord) -> Published:
    return Published(
        record.key.decode(),
        record.value,
        record.timestamp,
        read_headers(record.headers),
        dict(record.headers),
    )


class CartClient:
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

    async def reaches_kafka(self) -> bool:
        """Whether the gateway publishes: one that has just started, or met an outage, may be about to."""
        ready = (await self.http.get("/health/ready")).json()
        return bool(ready["checks"]["kafka"]["status"] == "ok")

    async def operations_since(self, starts: dict[int, int]) -> set[str]:
        """The ids of the operations published after `starts`; a sweeper may publish one again."""
        return {decode_change(record.value).op_id for record in await self.topic.since(starts)}


def item(product_id: str = "sku-1", quantity: object = 1, **more: object) -> dict[str, object]:
    """The body of an add."""
    return {"product_id": product_id, "quantity": quantity, "unit_price": 1999, "currency": "EUR", **more}


async def set_ready(store: CartStore, partitions: int = PARTITIONS) -> None:
    """Mark every partition as complete, the way a restoration does."""
    for partition in range(partitions):
        token = await store.restore_begin(partition)
        assert await store.restore_finish(partition, token, 0, 0) is None
