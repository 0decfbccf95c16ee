"""Copies in Redis, put there as the follower puts them."""

from collections.abc import Sequence

from store.redis import CartStore, PutResult
from store.redis.partition_store import Put


async def put_copies(store: CartStore, partition: int, states: Sequence[tuple[str, Put]]) -> list[PutResult]:
    """Put what a record of `carts` says of each cart; Redis has followed no further afterwards."""
    while True:
        position = await store.followed(partition)
        results = await store.follow_put(partition, position, position or 0, states)
        if isinstance(results, list):  # else somebody follows, and has moved on
            return results
