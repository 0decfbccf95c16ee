"""Whether Redis has everything back."""

import redis.asyncio

from store.redis import Layout
from topics.registry import PARTITIONS


async def is_restored(redis_url: str) -> bool:
    """Whether every partition of Redis is ready: no write is refused for it."""
    ready = [keys.ready for keys in map(Layout(PARTITIONS).of_partition, range(PARTITIONS))]
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        return bool(await client.exists(*ready) == PARTITIONS)
