"""Read and write the table of external checkouts, in the caller's transaction."""

from typing import Any, Final, NamedTuple

import msgspec
import psycopg

from store.postgres.order_records import Checkout, CheckoutStatus, PricedSnapshot
from store.postgres.queries import queries_of

Connection = psycopg.AsyncConnection[Any]

query: Final = queries_of("orders")

_encoder: Final = msgspec.json.Encoder()
_snapshot: Final = msgspec.json.Decoder(PricedSnapshot)


class Expired(NamedTuple):
    """A checkout that was not completed in time."""

    token: str
    cart_id: str


async def open_one(
    connection: Connection, token: str, cart_id: str, snapshot: PricedSnapshot, seconds: float
) -> Checkout | None:
    """Open a checkout that expires after `seconds`; None if the cart has an open one."""
    await connection.execute(query("close_overdue_checkout"), {"cart_id": cart_id})
    return await _one(
        connection,
        "open_checkout",
        token=token,
        cart_id=cart_id,
        snapshot=_encoder.encode(snapshot).decode(),
        seconds=seconds,
    )


async def find_open(connection: Connection, cart_id: str) -> Checkout | None:
    """The cart's open checkout."""
    return await _one(connection, "open_checkout_of_cart", cart_id=cart_id)


async def find(connection: Connection, cart_id: str, token: str) -> Checkout | None:
    """The cart's checkout with this token, open or not."""
    return await _one(connection, "checkout_by_token", cart_id=cart_id, token=token)


async def complete(connection: Connection, token: str, reference: str) -> Checkout | None:
    """Mark it as completed, even if it has expired; None if it was completed or cancelled before."""
    return await _one(connection, "complete_checkout", token=token, reference=reference)


async def cancel(connection: Connection, cart_id: str, token: str) -> None:
    """Mark it as cancelled unless it has been completed."""
    await connection.execute(query("cancel_checkout"), {"cart_id": cart_id, "token": token})


async def expire(connection: Connection, limit: int) -> list[Expired]:
    """Close checkouts that are overdue, at most `limit`."""
    cursor = await connection.execute(query("expire_checkouts"), {"limit": limit})
    return [Expired(*row) for row in await cursor.fetchall()]


async def _one(connection: Connection, name: str, **parameters: object) -> Checkout | None:
    cursor = await connection.execute(query(name), parameters)
    row = await cursor.fetchone()
    if row is None:
        return None
    token, cart_id, status, snapshot, reference, expires_at = row
    return Checkout(
        token=token,
        cart_id=cart_id,
        status=CheckoutStatus(status),
        snapshot=_snapshot.decode(snapshot),
        reference=reference,
        expires_at=expires_at,
    )
