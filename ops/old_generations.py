"""Drops what carts have left behind when they moved: topics, keys in Redis, positions in Postgres."""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from ops.reopening import require_rights
from ops.settings import OpsSettings
from store.postgres import positions
from store.postgres.session import connect
from store.redis import CartStore, Layout, PipelinedClient
from store.redis.node import Node
from topics.cluster import Cluster, cluster
from topics.errors import TopicsError
from topics.generations import Generation, generations, remove
from topics.names import GENERATION, carts_in_redis

_PAGE: Final = 1000


class NotDropped(TopicsError):
    """An earlier generation stays; the message says why."""


class Dropped(msgspec.Struct, frozen=True):
    """A generation that is gone, and how many keys Redis had of it."""

    generation: int
    keys: int


async def drop_old(settings: OpsSettings, dropped: Callable[[Dropped], None]) -> None:
    """Drop all generations before this one, topics last: what is left after an interruption is found again.

    Raises NotDropped, RightsMissing, TopicsError, StoreError, psycopg.Error, KafkaError.
    """
    async with (
        await connect(settings.postgres_address, name="cartstream-repartition") as database,
        cluster(settings) as kafka,
        PipelinedClient(settings, name="cartstream-repartition") as client,
    ):
        await require_rights(database)
        known = await generations(kafka)
        own = known.get(GENERATION)
        if own is None or not own.is_open:
            raise NotDropped(f"generation {GENERATION}, as CARTSTREAM_GENERATION says, is not the live one")
        for generation in known.values():
            if generation.number < GENERATION:
                dropped(await _drop(database, kafka, client, generation))


async def _drop(
    database: positions.Connection, kafka: Cluster, client: PipelinedClient, generation: Generation
) -> Dropped:
    number = generation.number
    if generation.is_open:
        raise NotDropped(f"generation {number} is open, too: carts may be in it")
    layout = Layout(generation.partitions, number)
    waiting = sum(depth.entries for depth in await CartStore(client, layout).outbox_depths())
    if waiting:
        raise NotDropped(
            f"{waiting} changes of generation {number} wait in the outboxes of Redis: one that had fallen "
            "back took them, from gateways of that generation. They were acknowledged with durability=redis "
            "only; read them with XRANGE before you delete their streams"
        )
    keys = await _delete_keys(client, layout, number)
    await positions.drop(database, number)
    await remove(kafka, number)
    return Dropped(number, keys)


async def _delete_keys(client: PipelinedClient, layout: Layout, number: int) -> int:
    place = carts_in_redis(number)
    tags = "|".join(map(re.escape, layout.tags))
    of_generation = re.compile(rf"{re.escape(place)}\{{(?:{tags})\}}:".encode())
    # Of all or none: once the topics are gone nobody looks for the keys of this generation again.
    return sum(await client.of_all(partial(_delete_at, f"{place}{{*", of_generation)))


async def _delete_at(pattern: str, of_generation: re.Pattern[bytes], node: Node) -> int:
    deleted: int = 0
    cursor = b"0"
    while True:
        cursor, found = await node.execute(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _PAGE)
        keys = [key for key in found if of_generation.match(key)]
        # Each by itself: keys of several slots go into no one command.
        deleted += sum(await asyncio.gather(*(node.execute(b"UNLINK", key) for key in keys)))
        if cursor == b"0":
            return deleted
