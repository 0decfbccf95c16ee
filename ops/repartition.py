"""Moves carts to topics with another number of partitions while the shop runs: the next generation.

1. The topics of the next generation are made, closed, and the states of carts copied into them, again and
   again, until little is left.
2. Compaction and the sinks are near the ends of what they read, or nothing stops.
   Writes stop: every partition in Redis is closed, by its script. The outboxes drain into `cart-changed`,
   which is closed, too. Compaction folds it to its end, and the sink writes `carts` to its end.
3. What is left is copied. Rows and topics have the same states now, so the sink's position can be noted for
   the new topic: at its end.
4. The next generation is opened. From this step on, a single one in Kafka, carts are there.

Before step 4 everything can be taken back, and is, if something takes too long or fails. A command that was
killed leaves the old generation, or none, open: the next one takes that back first. After step 4 nothing is
ever taken back: the way back is another generation.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import psycopg
from aiokafka import TopicPartition

from ops.carts_copy import CartsCopy
from ops.progress import Bars
from ops.reopening import (
    NEXT,
    Found,
    NotRepartitioned,
    Say,
    clear_away,
    find,
    have_back,
    reopen,
    require_rights,
    what_to_set,
)
from ops.settings import OpsSettings
from runtime.kafka.ranges import OffsetRange, RangeReader
from store.postgres import positions
from store.postgres.positions import Position
from store.postgres.session import Address, PoolerBetween, connect
from store.redis import CartStore, Layout, PipelinedClient
from topics.access import REPARTITION
from topics.cluster import Cluster, cluster
from topics.generations import Generation, carts_of, close, make, may_be_closed, open_
from topics.groups import COMPACTION, HISTORY_SINK
from topics.names import GENERATION
from topics.publishing import Publisher
from topics.registry import CART_CHANGED, CART_TOPICS, CARTS, in_generation

LITTLE: Final = 1000
"""Records that are copied while writes wait."""
PASSES: Final = 20
"""Copies after which they are stopped though more is left: the shop writes as fast as it is copied."""
FOLLOWED_WITHIN_S: Final = 30.0
"""What is there before writes wait."""
POLL_S: Final = 0.05

_Ends: TypeAlias = dict[TopicPartition, OffsetRange]
"""What a topic has, by partition."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """Carts are in another generation.

    Seconds are those from the last write to when it was open, and to when all its partitions took writes;
    None: they do not yet.
    """

    generation: int
    partitions: int
    states: int
    deletions: int
    left_out: int
    open_s: float
    writes_s: float | None


async def look(settings: OpsSettings) -> Found:
    """The generations as they are, which may be moved. Raises NotRepartitioned, AlreadyMoved, TopicsError."""
    async with cluster(settings) as kafka:
        found = await find(kafka, settings)
        await _may_move(kafka)
    return found


async def waiting_records(settings: OpsSettings) -> int:
    """How many records there are to copy."""
    async with RangeReader(settings) as reader:
        bounds = await reader.bounds_of(_places(CARTS.name, settings.partitions))
    return sum(span.size for span in bounds.values())


async def repartition(
    settings: OpsSettings, target: int, *, pause_limit_s: float, ready_limit_s: float, say: Say, bars: Bars
) -> Moved:
    """Move all carts to topics with `target` partitions.

    Writes wait for `pause_limit_s` at most; if the switch takes longer it is taken back. Afterwards waits
    `ready_limit_s` for the processes of the next generation.

    Raises NotRepartitioned, AlreadyMoved, TopicsError, StoreError, psycopg.Error, KafkaError, TimeoutError:
    carts are where they were, or (it says so) may be in either. StillClosed: where they were, and closed.
    """
    async with _tools(settings) as tools:
        found = await find(tools.kafka, settings)
        await _may_move(tools.kafka)
        await may_be_closed(tools.kafka, found.own)
        await reopen(settings, tools.store, say)
        await clear_away(settings, say)
        say(f"making generation {NEXT} of the topics of carts, with {target} partitions")
        await make(tools.kafka, NEXT, target, found.own.replicas)
        copy = CartsCopy(tools.reader, tools.publisher, settings.partitions, NEXT, target)
        await _copy_until_little_is_left(copy, say, bars)
        switch = _Switch(settings, tools, found.own, copy, target, say)
        open_s, writes_s = await switch.run(pause_limit_s, ready_limit_s)
    return Moved(
        generation=NEXT,
        partitions=target,
        states=copy.states,
        deletions=copy.deletions,
        left_out=copy.left_out,
        open_s=open_s,
        writes_s=writes_s,
    )


async def take_back(settings: OpsSettings, say: Say) -> None:
    """Take back what a command has left that did not come to its end. Raises as `repartition`."""
    async with _tools(settings) as tools:
        await have_back(settings, tools.store, say)


async def _may_move(kafka: Cluster) -> None:
    """Raises ClusterRefusesError without a right that is needed from now until the end."""
    topics = [in_generation(spec, number) for number in (GENERATION, NEXT) for spec in CART_TOPICS]
    await kafka.require_rights(REPARTITION, topics)


class _Tools(NamedTuple):
    database: psycopg.AsyncConnection[Any]
    """Holds the lock: one command at a time."""
    kafka: Cluster
    store: CartStore
    reader: RangeReader
    publisher: Publisher


@asynccontextmanager
async def _tools(settings: OpsSettings) -> AsyncIterator[_Tools]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(_locked(settings.postgres_address))
        client = await stack.enter_async_context(PipelinedClient(settings, name="cartstream-repartition"))
        yield _Tools(
            database,
            await stack.enter_async_context(cluster(settings)),
            CartStore(client, Layout(settings.partitions)),
            await stack.enter_async_context(RangeReader(settings)),
            await stack.enter_async_context(Publisher(settings, CARTS.compression)),
        )


@asynccontextmanager
async def _locked(address: Address) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    connection = await connect(address, name="cartstream-repartition")
    try:
        if connection.is_pooled:
            raise PoolerBetween("cartstream topics repartition")
        cursor = await connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))",
            (f"cartstream.repartition.{address.schema}",),
        )
        if (await cursor.fetchone()) != (True,):
            raise NotRepartitioned("another `cartstream topics repartition` is at work")
        await require_rights(connection)
        yield connection
    finally:
        await connection.close()


async def _copy_until_little_is_left(copy: CartsCopy, say: Say, bars: Bars) -> None:
    for number in range(1, PASSES + 1):
        left = await copy.left()
        size = sum(span.size for span in left.values())
        if size <= LITTLE and number > 1:
            return
        began = time.monotonic()
        await copy.copy(left, bars(f"copying carts, pass {number}", size))
        say(f"pass {number}: {size} records copied in {time.monotonic() - began:.1f} s")


class _Switch:
    """The switch from a generation to the next one, while writes wait."""

    def __init__(
        self, settings: OpsSettings, tools: _Tools, own: Generation, copy: CartsCopy, target: int, say: Say
    ) -> None:
        self._settings = settings
        self._tools = tools
        self._own = own
        self._copy = copy
        self._target = target
        self._say = say
        self._step = ""
        self._partitions = range(settings.partitions)

    async def run(self, pause_limit_s: float, ready_limit_s: float) -> tuple[float, float | None]:
        """Seconds until the next generation is open, and until it takes writes everywhere."""
        try:
            await self._require_agents()
            began = time.monotonic()
            self._say("writes wait from now on")
            async with asyncio.timeout(pause_limit_s):
                await self._prepare()
        except BaseException as error:
            # Also when somebody has pressed Ctrl-C: the shop comes first.
            await asyncio.shield(have_back(self._settings, self._tools.store, self._say))
            if isinstance(error, TimeoutError):
                raise NotRepartitioned(
                    f"writes have waited for {pause_limit_s:g} s, and {self._step} Carts stay where they "
                    "were, and writes go on"
                ) from error
            raise
        await self._open()
        open_s = time.monotonic() - began
        self._say(
            f"generation {NEXT} is open: {what_to_set(self._settings, NEXT, self._target)} for its processes"
        )
        return open_s, await self._until_written(began, ready_limit_s)

    async def _require_agents(self) -> None:
        """Agents read what there is now while writes go on; otherwise writes would wait for nothing."""
        try:
            async with asyncio.timeout(FOLLOWED_WITHIN_S):
                await self._until_all_is_read()
        except TimeoutError as error:
            raise NotRepartitioned(
                f"after {FOLLOWED_WITHIN_S:g} s {self._step} Carts stay where they were, and no write waited"
            ) from error

    async def _prepare(self) -> None:
        """All of steps 2 and 3; afterwards both generations are closed and have the same carts."""
        kafka, store = self._tools.kafka, self._tools.store
        self._step = "partitions of Redis were still being closed."
        await store.close_partitions()
        await self._until(
            self._outboxes_are_empty, "changes still wait in the outboxes of Redis: does a gateway run?"
        )
        await close(kafka, self._own)
        self._tell("the outboxes are empty, `cart-changed` is closed")
        changes, states = await self._until_all_is_read()
        self._tell("compaction and the Postgres sink are at their ends")
        self._step = "the last states were still being copied."
        await self._copy.copy(await self._copy.left(), lambda _done: None)
        await self._copy.copy_purge_floors()
        await self._require_unchanged(changes, states)
        await self._note_positions()
        self._tell("what was left is copied")

    async def _until_all_is_read(self) -> tuple[_Ends, _Ends]:
        """Agents have read what there is of changes now, and of states after that; the ends of both."""
        changes = await self._ends(CART_CHANGED.name)
        await self._until(
            lambda: self._has_read(COMPACTION, changes),
            f"{COMPACTION} has not folded all changes: does compaction run?",
        )
        if await self._is_used(HISTORY_SINK):
            await self._until(
                lambda: self._has_read(HISTORY_SINK, changes),
                f"{HISTORY_SINK} has not written all changes: start its sink, or delete the group",
            )
        states = await self._ends(CARTS.name)
        topic_id = await self._tools.reader.topic_id(CARTS.name)
        await self._until(
            lambda: self._rows_have(topic_id, states),
            "rows lack states: does the Postgres sink run?",
        )
        return changes, states

    async def _require_unchanged(self, changes: _Ends, states: _Ends) -> None:
        """Nobody has written meanwhile, nor could have. Raises NotRepartitioned, psycopg.Error."""
        store = self._tools.store
        is_closed = await store.closed_partitions() == set(self._partitions)
        ends = await self._ends(CART_CHANGED.name), await self._ends(CARTS.name)
        copied = {place.partition: span.end for place, span in states.items()}
        if not (
            is_closed
            and await self._outboxes_are_empty()
            and [_end_of(span) for span in ends] == [_end_of(changes), _end_of(states)]
            and self._copy.read_to == copied
        ):
            raise NotRepartitioned(
                "somebody has written to this generation after it was closed, or Redis has lost that it is. "
                "Carts stay where they were: run the command again"
            )
        # The lock is this connection's.
        await self._tools.database.execute("SELECT 1")

    async def _note_positions(self) -> None:
        """The rows have all states that the new topic has."""
        reader, topic = self._tools.reader, carts_of(NEXT)
        topic_id = await reader.topic_id(topic)
        bounds = await reader.bounds_of(_places(topic, self._target))
        await positions.begin(
            self._tools.database,
            [Position(place.partition, topic_id, span.end) for place, span in bounds.items()],
            NEXT,
        )

    async def _open(self) -> None:
        following = Generation(NEXT, self._target, self._own.replicas, is_open=False)
        try:
            await open_(self._tools.kafka, following)
        except BaseException:
            self._say(
                f"it is not known whether generation {NEXT} was opened, and nothing is taken back: run the "
                "command again, it finds out"
            )
            raise

    async def _until_written(self, began: float, limit_s: float) -> float | None:
        """Seconds until every partition of the next generation takes writes; None: not within the limit."""
        async with PipelinedClient(self._settings, name="cartstream-repartition") as client:
            store = CartStore(client, Layout(self._target, NEXT))
            while time.monotonic() - began < limit_s:
                if len(await store.ready_partitions()) == self._target:
                    return time.monotonic() - began
                await asyncio.sleep(POLL_S)
        return None

    # What is waited for

    async def _until(self, condition: Callable[[], Awaitable[bool]], step: str) -> None:
        self._step = step
        while not await condition():  # noqa: ASYNC110  neither Redis, Kafka nor Postgres tells
            await asyncio.sleep(POLL_S)

    def _tell(self, what: str) -> None:
        self._say(f"  {what}")

    async def _outboxes_are_empty(self) -> bool:
        return not any(depth.entries for depth in await self._tools.store.outbox_depths())

    async def _ends(self, topic: str) -> _Ends:
        return await self._tools.reader.bounds_of(_places(topic, self._settings.partitions))

    async def _is_used(self, group: str) -> bool:
        return any(place.topic == CART_CHANGED.name for place in await self._tools.kafka.committed(group))

    async def _has_read(self, group: str, spans: _Ends) -> bool:
        committed = await self._tools.kafka.committed(group)
        return all(committed.get(place, 0) >= span.end for place, span in spans.items() if span.size)

    async def _rows_have(self, topic_id: str, spans: _Ends) -> bool:
        found = await positions.read(self._tools.database, self._partitions)
        return all(
            (position := found.get(place.partition)) is not None
            and position.topic_id == topic_id
            and position.position >= span.end
            for place, span in spans.items()
            if span.size
        )


def _places(topic: str, partitions: int) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for partition in range(partitions)]


def _end_of(spans: _Ends) -> dict[TopicPartition, int]:
    return {place: span.end for place, span in spans.items()}
