"""The product's own processes around a checkout, and a client that buys."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import redis.asyncio

from store.redis import CartStore, Layout
from tests.support.servers import Urls
from tests.support.topics import records_of
from tests.support.waiting import until
from topics.codec import decode_order
from topics.partitioner import partition_of
from topics.records import OrderRecord
from topics.registry import ORDERS, PARTITIONS

PRICE = 1999


class CheckoutClient:
    """A client of two gateways: `http` of the one under test, `carts` of one that takes any price.

    The catalogue is written to its table at once: checkouts look nowhere else.
    """

    def __init__(
        self, http: httpx.AsyncClient, carts: httpx.AsyncClient, store: CartStore, urls: Urls
    ) -> None:
        self.http = http
        self.carts = carts
        self.store = store
        self.urls = urls
        self.mark = uuid4().hex[:12]

    def cart(self, name: object = "") -> str:
        """A cart of the test's own."""
        return f"user:{self.mark}-{name}"

    async def product(
        self, name: str, stock: int | None, unit_price: int = PRICE, *, active: bool = True
    ) -> str:
        """Make it, or make it another one; its id."""
        product_id = f"{self.mark}-{name}"
        await self.execute(
            """
            INSERT INTO products (product_id, name, unit_price, currency, stock, active)
            VALUES (%s, %s, %s, 'EUR', %s, %s)
            ON CONFLICT (product_id) DO UPDATE SET
                unit_price = excluded.unit_price, stock = excluded.stock, active = excluded.active
            """,
            (product_id, name, unit_price, stock, active),
        )
        return product_id

    async def stock(self, product_id: str) -> int | None:
        """The pieces that are left."""
        ((left,),) = await self.rows("SELECT stock FROM products WHERE product_id = %s", (product_id,))
        return left if left is None else int(left)

    async def add(
        self,
        cart_id: str,
        product_id: str,
        quantity: int = 1,
        *,
        unit_price: int = PRICE,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Add pieces; the cart."""
        reply = await self.carts.post(
            f"/v1/carts/{cart_id}/items",
            json={
                "product_id": product_id,
                "quantity": quantity,
                "unit_price": unit_price,
                "currency": "EUR",
            },
            headers={} if key is None else {"idempotency-key": key},
        )
        assert reply.status_code == 200, reply.text
        document: dict[str, Any] = reply.json()
        return document

    async def quantities(self, cart_id: str) -> dict[str, int]:
        """The cart's pieces by line."""
        reply = await self.carts.get(f"/v1/carts/{cart_id}")
        assert reply.status_code == 200, reply.text
        return {line["line_id"]: line["quantity"] for line in reply.json()["lines"]}

    async def check_out(self, cart_id: str, key: str | None = "k", **body: object) -> httpx.Response:
        """Ask for an order, once."""
        headers = {} if key is None else {"idempotency-key": key}
        return await self.http.post(f"/v1/carts/{cart_id}/checkout", json=body, headers=headers)

    async def check_out_if(self, cart_id: str, condition: str, tags: str) -> httpx.Response:
        """Ask for an order under a condition, once; with the key of `check_out`."""
        headers = {"idempotency-key": "k", condition: tags}
        return await self.http.post(f"/v1/carts/{cart_id}/checkout", headers=headers)

    async def order(self, cart_id: str, key: str = "k", **body: object) -> dict[str, Any]:
        """The order that a checkout comes to; what says Retry-After is asked for again."""

        async def asked() -> dict[str, Any]:
            reply = await self.check_out(cart_id, key, **body)
            if reply.status_code == 503:
                return {}
            assert reply.status_code == 201, reply.text
            document: dict[str, Any] = reply.json()
            return document

        return await until(asked, "an order")

    async def orders(self, cart_id: str) -> list[dict[str, Any]]:
        """The cart's orders, newest first, page by page."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            parameters = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
            reply = await self.http.get(f"/v1/carts/{cart_id}/orders", params=parameters)
            assert reply.status_code == 200, reply.text
            found += reply.json()["orders"]
            cursor = reply.json()["next_cursor"]
            if cursor is None:
                return found

    async def until_settled(self) -> None:
        """Wait until every order of this test is known to have left its cart."""

        async def settled() -> bool:
            ((waiting,),) = await self.rows(
                "SELECT count(*) FROM orders WHERE settled_at IS NULL AND cart_id LIKE %s",
                (f"user:{self.mark}-%",),
            )
            return not waiting

        await until(settled, "every order settled")

    async def row_has(self, cart_id: str, line_id: str) -> bool:
        """Whether the cart's row has the line."""
        found = await self.rows("SELECT lines::text FROM carts WHERE cart_id = %s", (cart_id,))
        return bool(found) and f'"{line_id}"' in found[0][0]

    async def forget(self, cart_id: str) -> None:
        """Take the cart's keys out of Redis, as their TTL does."""
        keys = Layout(PARTITIONS).of_cart(cart_id)
        async with redis.asyncio.Redis.from_url(self.urls.redis) as raw:
            await raw.delete(keys.cart, keys.ops, keys.win)

    async def wipe(self) -> None:
        """FLUSHALL."""
        async with redis.asyncio.Redis.from_url(self.urls.redis) as raw:
            await raw.flushall()

    async def can_add(self, cart_id: str, product_id: str) -> bool:
        """Add a piece, if the cart's partition takes it now."""
        reply = await self.carts.post(
            f"/v1/carts/{cart_id}/items",
            json={"product_id": product_id, "quantity": 1, "unit_price": PRICE, "currency": "EUR"},
            headers={"idempotency-key": f"add-{product_id}"},
        )
        return reply.status_code == 200

    async def records(self, order_id: str) -> list[OrderRecord]:
        """The order's records in Kafka, in their order."""
        key = order_id.encode()
        records = await records_of(self.urls.kafka, ORDERS.name, [partition_of(key, PARTITIONS)])
        return [decode_order(record.value) for record in records if record.key == key]

    async def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        async with await psycopg.AsyncConnection.connect(self.urls.postgres, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()

    async def execute(self, statement: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement."""
        async with await psycopg.AsyncConnection.connect(self.urls.postgres, autocommit=True) as connection:
            await connection.execute(statement.encode(), parameters)
