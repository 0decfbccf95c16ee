"""Hands merges to the merge agent: a record for `cart-merges` in the transaction that says so."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg

from store.postgres import merges, outbox
from store.postgres.outbox import OutboxRecord
from topics.headers import merge_headers
from topics.records import MergeRecord
from topics.registry import CART_MERGES


async def hand_over(
    connection: psycopg.AsyncConnection[Any], merge_ids: Sequence[str], grace: timedelta = timedelta()
) -> int:
    """Hand over those of the merges that nobody has carried on for `grace`; how many. In a transaction."""
    handed = await merges.hand_over(connection, merge_ids, grace)
    now = datetime.now(UTC)
    records = [
        MergeRecord(merge_id=each.merge_id, guest_cart_id=each.guest, cart_id=each.into, requested_at=now)
        for each in handed
    ]
    await outbox.write(
        connection,
        [
            OutboxRecord(CART_MERGES.name, record.cart_id, msgspec.json.encode(record), merge_headers(record))
            for record in records
        ],
    )
    return len(records)
