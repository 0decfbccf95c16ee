"""Who writes into the outbox in the tests of its relay."""

from uuid import uuid4

import psycopg

from store.postgres import outbox
from store.postgres.outbox import OutboxRecord
from topics.registry import ORDERS


def new_key(name: str = "order") -> str:
    """A key that no other test has."""
    return f"{name}-{uuid4().hex}"


def record(key: str, value: bytes | None = b"{}", topic: str = ORDERS.name) -> OutboxRecord:
    """A record for the outbox."""
    return OutboxRecord(topic, key, value, [("ce_id", key.encode()), ("note", "für Zoë".encode())])


async def write(url: str, *records: OutboxRecord) -> None:
    """Write records in one transaction of their own."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await outbox.write(connection, records)


async def rows(url: str) -> int:
    """How many rows wait."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return (await outbox.lag(connection)).rows
