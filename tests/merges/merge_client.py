"""A client that logs in: it adds as a guest, then has the guest's cart merged into the user's."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import redis.asyncio

from store.redis import Layout
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.registry import PARTITIONS


class MergeClient:
    """A client of one gateway; carts of one client are a test's own."""

    def __init__(self, http: httpx.AsyncClient, urls: Urls) -> None:
        self.http = http
        self.urls = urls
        self.mark = uuid4().hex[:12]

    def user(self, name: object = "") -> str:
        """A user's cart."""
        return f"user:{self.mark}-{name}"

    def guest(self, name: object = "") -> str:
        """A guest's cart."""
        return f"guest:{self.mark}-{name}"

    async def try_to_add(
        self, cart_id: str, product_id: str, quantity: int = 1, key: str | None = None, **more: object
    ) -> httpx.Response:
        """Ask for pieces to be added, once."""
        body = {"product_id": product_id, "quantity": quantity, "unit_price": 100, "currency": "EUR", **more}
        headers = {} if key is None else {"idempotency-key": key}
        return await self.http.post(f"/v1/carts/{cart_id}/items", json=body, headers=headers)

    async def add(
        self, cart_id: str, product_id: str, quantity: int = 1, key: str | None = None, **more: object
    ) -> None:
        """Add pieces, until Kafka has them; what says Retry-After is asked for again with the same key."""
        key = key or uuid4().hex
        is_applied = False

        async def added() -> bool:
            nonlocal is_applied
            reply = await self.try_to_add(cart_id, product_id, quantity, key, **more)
            if reply.status_code == 503:
                return False
            if reply.status_code == 409 and is_applied:
                return True  # a merge has taken them along
            assert reply.status_code == 200, reply.text
            is_applied = True
            # A slow Kafka is not waited for, and a wiped Redis would lose what it does not have.
            return "durability=kafka" in reply.headers["preference-applied"]

        await until(added, f"{product_id} in {cart_id}")

    async def detail(self, cart_id: str, **details: object) -> None:
        """Set details of a cart."""
        reply = await self.http.patch(f"/v1/carts/{cart_id}/details", json=details)
        assert reply.status_code == 200, reply.text

    async def read(self, cart_id: str) -> dict[str, Any]:
        """The cart."""
        reply = await self.http.get(f"/v1/carts/{cart_id}")
        assert reply.status_code == 200, reply.text
        document: dict[str, Any] = reply.json()
        return document

    async def quantities(self, cart_id: str) -> dict[str, int]:
        """The cart's pieces by line."""
        return {line["line_id"]: line["quantity"] for line in (await self.read(cart_id))["lines"]}

    async def ask(self, user: str, guest: str, **more: object) -> httpx.Response:
        """Ask for a merge, once."""
        return await self.http.post(f"/v1/carts/{user}/merge", json={"guest": guest, **more})

    async def merge(self, user: str, guest: str, **more: object) -> dict[str, Any]:
        """Merge, and wait for the end; the merge."""

        async def asked() -> dict[str, Any]:
            reply = await self.ask(user, guest, **more)
            if reply.status_code == 503:
                return {}
            assert reply.status_code in {200, 202}, reply.text
            document: dict[str, Any] = reply.json()
            return document

        begun = await until(asked, "a merge")
        return await self.done(begun["merge_id"])

    async def done(self, merge_id: str) -> dict[str, Any]:
        """The merge, once it is done."""

        async def ended() -> dict[str, Any]:
            reply = await self.http.get(f"/v1/merges/{merge_id}")
            if reply.status_code == 503:
                return {}
            assert reply.status_code == 200, reply.text
            document: dict[str, Any] = reply.json()
            return document if document["status"] == "done" else {}

        return await until(ended, f"{merge_id} done")

    async def until_settled(self) -> None:
        """Wait until every merge of this client is done, and its transfers are in the rows of both carts."""

        async def settled() -> bool:
            ((waiting,),) = await self.rows(
                """
                SELECT count(*)
                FROM merges LEFT JOIN merge_transfers USING (merge_id)
                WHERE guest LIKE %s AND (is_open OR number IS NOT NULL AND settled_at IS NULL)
                """,
                (f"guest:{self.mark}-%",),
            )
            return not waiting

        await until(settled, "every transfer settled")

    async def transfers(self, guest: str) -> int:
        """How many transfers the merge of a guest's cart has taken."""
        ((count,),) = await self.rows(
            "SELECT count(*) FROM merge_transfers JOIN merges USING (merge_id) WHERE guest = %s", (guest,)
        )
        return int(count)

    async def forget(self, cart_id: str) -> None:
        """Take the cart's keys out of Redis, as their TTL does."""
        keys = Layout(PARTITIONS).of_cart(cart_id)
        async with redis.asyncio.Redis.from_url(self.urls.redis) as raw:
            await raw.delete(keys.cart, keys.ops, keys.win)

    async def lose_claim(self, guest: str) -> None:
        """Let Redis's copy take writes again, as after a failover to a time before the claim."""
        keys = Layout(PARTITIONS).of_cart(guest)
        async with redis.asyncio.Redis.from_url(self.urls.redis) as raw:
            head = await raw.hget(keys.cart, "m")
            assert isinstance(head, bytes)
            await raw.hset(keys.cart, "m", head.replace(b" merged ", b" active ").decode())
            await raw.hdel(keys.cart, "x")

    async def wipe(self) -> None:
        """FLUSHALL."""
        async with redis.asyncio.Redis.from_url(self.urls.redis) as raw:
            await raw.flushall()

    async def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        async with await psycopg.AsyncConnection.connect(self.urls.postgres, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()
