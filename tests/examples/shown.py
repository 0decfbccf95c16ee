"""What GET shows of every cart, cut to what a record of `carts` shows, too."""

import asyncio
from typing import Any, Final

import aiohttp
import psycopg

from tests.faults.testbed import Testbed

OF_A_CART: Final = ("status", "version", "currency", "metadata", "details", "merged_into")
OF_A_SAVED_LINE: Final = ("line_id", "product_id", "quantity", "options", "metadata")
OF_A_LINE: Final = (*OF_A_SAVED_LINE, "unit_price")


def shown_by_both(document: dict[str, Any]) -> dict[str, Any]:
    """Of what GET or a record of `carts` shows all but times, sums of lines, and what the catalogue adds."""
    lines = [{name: line[name] for name in OF_A_LINE} for line in document["lines"]]
    saved = [{name: line[name] for name in OF_A_SAVED_LINE} for line in document["saved"]]
    cart = {name: document[name] for name in OF_A_CART}
    return cart | {"lines": lines, "saved": saved, "subtotal": document["totals"]["subtotal"]}


async def carts_of(testbed: Testbed) -> dict[str, dict[str, Any]]:
    """What GET shows of every cart that there is."""
    async with await psycopg.AsyncConnection.connect(testbed.urls.postgres) as connection:
        rows = await (await connection.execute("SELECT cart_id FROM carts")).fetchall()
    async with aiohttp.ClientSession(testbed.gateways[0]) as session:
        found = await asyncio.gather(*(read(session, cart_id) for (cart_id,) in rows))
    return dict(zip([cart_id for (cart_id,) in rows], found, strict=True))


async def read(session: aiohttp.ClientSession, cart_id: str) -> dict[str, Any]:
    """The cart by GET."""
    async with session.get(f"/v1/carts/{cart_id}") as reply:
        assert reply.ok, await reply.text()
        return shown_by_both(await reply.json())
