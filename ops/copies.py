"""Reads what Redis and Postgres have of carts, in batches."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import psycopg

from carts.operations import Metadata
from carts.state import State, Version
from carts.view import CartLine, saved_of, view
from ops.comparison import RedisCopy, RowCopy
from ops.fingerprint import Shown, fingerprint, shown
from store.postgres import carts
from store.postgres.carts import FoundRow
from store.postgres.session import Address, connect
from store.redis import Layout, PipelinedClient, StoredCart
from topics.names import carts_in_redis

_SCAN_COUNT: Final = 2000
_CART_KEYS: Final = f"{carts_in_redis()}{{*}}:cart:*"
_CART_KEY: Final = re.compile(re.escape(carts_in_redis()) + r"{[0-9]+}:cart:(.*)", re.DOTALL)
_PAGE: Final = 5000

_STATE: Final = msgspec.json.Decoder(State)
_METADATA: Final = msgspec.json.Decoder(Metadata)
_LINES: Final = msgspec.json.Decoder(list[CartLine])


class RedisCopies:
    """The carts in Redis."""

    def __init__(self, client: PipelinedClient, layout: Layout) -> None:
        self._client = client
        self._layout = layout

    async def ids(self) -> AsyncIterator[list[str]]:
        """The ids of all carts, in batches; carts made or removed meanwhile may be missing."""
        for node in self._client.nodes:
            cursor = b"0"
            while True:
                cursor, keys = await node.execute("SCAN", cursor, "MATCH", _CART_KEYS, "COUNT", _SCAN_COUNT)
                # It finds keys of other kinds, too, if the id of their cart looks like the end of a key.
                found = [_CART_KEY.fullmatch(key.decode()) for key in keys]
                yield [match[1] for match in found if match is not None]
                if cursor == b"0":
                    break

    async def read(self, cart_ids: Sequence[str]) -> dict[str, RedisCopy]:
        """The copies of those carts that are there. Raises StoreError."""
        commands: list[tuple[bytes | str | int, ...]] = []
        for cart_id in cart_ids:
            keys = self._layout.of_cart(cart_id)
            commands += (("HGETALL", keys.cart), ("ZRANGE", keys.win, 0, -1, "WITHSCORES"))
        replies = await self._client.execute_all(commands)
        return {
            cart_id: _redis_copy(cart_id, fields, window)
            for cart_id, fields, window in zip(cart_ids, replies[::2], replies[1::2], strict=True)
            if fields
        }


class Rows:
    """The carts in Postgres; made by `rows`."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection

    async def count(self) -> int:
        """How many rows there are. Raises psycopg.Error."""
        return await carts.count(self._connection)

    async def ids(self) -> AsyncIterator[list[str]]:
        """The ids of all rows, in batches. Raises psycopg.Error."""
        after = ""
        while found := await carts.ids_after(self._connection, after, _PAGE):
            yield found
            after = found[-1]

    async def states(self, cart_ids: Sequence[str]) -> list[tuple[str, str]]:
        """Id and recovery state (JSON) of those carts that have a row. Raises psycopg.Error."""
        return await carts.states(self._connection, cart_ids)

    async def read(self, cart_ids: Sequence[str]) -> dict[str, RowCopy]:
        """The rows of those carts that have one. Raises psycopg.Error."""
        return {row.cart_id: _row_copy(row) for row in await carts.read(self._connection, cart_ids)}


@asynccontextmanager
async def rows(address: Address) -> AsyncIterator[Rows]:
    """The rows, over a connection of their own."""
    async with await connect(address, name="cartstream-verify") as connection:
        yield Rows(connection)


def _redis_copy(cart_id: str, fields: dict[bytes, bytes], window: Sequence[tuple[bytes, float]]) -> RedisCopy:
    operations = tuple((int(v), member.partition(b"\n")[0].decode()) for member, v in window)
    try:
        cart = StoredCart(cart_id, fields)
        return RedisCopy(cart.version, fingerprint(shown(cart.view())), operations)
    except (KeyError, ValueError, msgspec.MsgspecError):
        # Written by hand and no cart: it differs from every cart.
        return RedisCopy(Version(), b"", operations)


def _row_copy(row: FoundRow) -> RowCopy:
    version = Version(row.version_number, row.operation_count, row.digest)
    try:
        recovered = _STATE.decode(row.state)
        columns = Shown(
            status=row.status,
            currency=row.currency,
            subtotal=row.subtotal,
            lines=_LINES.decode(row.lines),
            metadata=_METADATA.decode(row.metadata),
            details=recovered.content().details,
            saved=saved_of(recovered.content().saved),
            merged_into=recovered.merged_into,
        )
        seen = fingerprint(columns)
        intact = recovered.version == version and seen == fingerprint(shown(view(row.cart_id, recovered)))
    except msgspec.MsgspecError:
        return RowCopy(version, b"")
    return RowCopy(version, seen if intact else b"")
