"""A restore agent in the test's own process, and a writer that publishes changes like the gateway."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from pydantic import SecretStr

from carts.fold import fold
from carts.operations import Add, Change, Item
from carts.state import State
from runtime.settings import KafkaSettings
from sinks.redis.agent import RestoreAgent
from sinks.redis.settings import RedisSinkSettings
from store.redis import Applied, CartStore, ChangeRequest, Layout, PipelinedClient, Reason, Refused
from tests.sinks.cart_records import TopicWriter
from tests.support.absent_carts import absence_of
from tests.support.waiting import PATIENCE_S, until
from topics.codec import decode_change
from topics.registry import PARTITIONS

LAYOUT = Layout(PARTITIONS)
EVERY_PARTITION = set(range(PARTITIONS))


class Redis:
    """The Redis of a test, seen through the store and key by key."""

    def __init__(self, settings: RedisSinkSettings, client: PipelinedClient) -> None:
        self.settings = settings
        self.client = client
        self.store = CartStore(client, LAYOUT)

    async def keys_of(self, cart_id: str) -> list[object]:
        """Everything that stands there of a cart, byte for byte, but not its operations' outbox ids."""
        keys = LAYOUT.of_cart(cart_id)
        cart, ops = [await self.client.execute("HGETALL", key) for key in (keys.cart, keys.ops)]
        entries = {field: entry.partition(b"\n")[0] for field, entry in ops.items()}
        window = await self.client.execute("ZRANGE", keys.win, 0, -1, "WITHSCORES")
        return [
            sorted(cart.items()),
            sorted(entries.items()),
            window,
        ]

    async def n(self, cart_id: str) -> int:
        """How many operations Redis's copy knows; 0: there is none."""
        keys = LAYOUT.of_cart(cart_id)
        head: bytes | None = await self.client.execute("HGET", keys.cart, "m")
        return int(head.split(b" ")[1]) if head else 0

    async def all_ready(self) -> bool:
        """Whether every partition has its marker."""
        return await self.store.ready_partitions() == EVERY_PARTITION

    async def become_ready(self) -> None:
        """Wait for every marker."""
        await until(self.all_ready, "all partitions ready")

    async def wipe(self) -> None:
        """FLUSHALL, and wait until everything is back."""
        await self.client.execute("FLUSHALL")
        await self.become_ready()

    async def snapshot(self) -> list[tuple[bytes, bytes]]:
        """Every key as it is now."""
        keys = await self.client.execute("KEYS", "*")
        dumps = await self.client.execute_all([("DUMP", key) for key in keys])
        return [(key, dump) for key, dump in zip(keys, dumps, strict=True) if dump is not None]

    async def roll_back(self, snapshot: list[tuple[bytes, bytes]]) -> None:
        """Put an earlier snapshot in the place of what is there, at once."""
        commands: list[tuple[str | bytes | int, ...]] = [("MULTI",), ("FLUSHALL",)]
        commands += [("RESTORE", key, 0, dump) for key, dump in snapshot]
        await self.client.execute_all([*commands, ("EXEC",)])


class CartWriter:
    """Writes like a gateway and, if asked to, folds like compaction."""

    def __init__(self, redis: Redis, topics: TopicWriter) -> None:
        self._redis = redis
        self._topics = topics
        self.states: dict[str, State] = {}

    async def write(self, cart_id: str) -> Change:
        """Add a piece in Redis; waits while the partition restores. Nothing is published."""
        request = ChangeRequest(
            cart_id=cart_id,
            op_id=uuid.uuid4().hex,
            fingerprint="f",
            steps=(Add("sku", 1, 500, "EUR", Item("sku"), {"note": "ä"}),),
            first_seen_us=time.time_ns() // 1000,
        )
        while True:
            absence = await absence_of(self._redis.store, cart_id)
            answer = await self._redis.store.change(msgspec.structs.replace(request, absence=absence))
            if isinstance(answer, Applied):
                return decode_change(answer.entry.event)
            assert isinstance(answer, Refused)
            assert answer.reason in {Reason.RESTORING, Reason.UNKNOWN_CART}
            await asyncio.sleep(0.05)

    async def add(self, cart_id: str) -> Change:
        """Add a piece and publish it: acknowledged by Kafka."""
        change = await self.write(cart_id)
        await self._topics.change(change)
        return change

    async def fold(self, change: Change) -> int:
        """What compaction makes of a change; the offset of that in `carts`."""
        state = fold(self.states.get(change.cart_id), change).state
        assert state is not None
        self.states[change.cart_id] = state
        return await self._topics.state(change.cart_id, state)


NO_POSTGRES = "postgresql://nobody@127.0.0.1:1/nothing"
"""Where nothing answers: carts come from Kafka alone."""


def settings_for(kafka: KafkaSettings, redis_url: str, postgres_url: str = NO_POSTGRES) -> RedisSinkSettings:
    """An agent's settings. Without a name of its own in the group: whoever stops leaves it at once."""
    return RedisSinkSettings(
        postgres_url=SecretStr(postgres_url),
        kafka_bootstrap=kafka.kafka_bootstrap,
        redis_url=redis_url,
        redis_timeout_s=20,
        partitions=PARTITIONS,
        redis_max_requests=1_000_000,  # the topic holds the carts of other tests, too
        session_timeout_s=6,
    )


@asynccontextmanager
async def running_agent(settings: RedisSinkSettings) -> AsyncIterator[RestoreAgent]:
    """An agent that is ready."""
    ready = asyncio.Event()
    async with PipelinedClient(settings) as client:
        agent = RestoreAgent(settings, client)
        task = asyncio.create_task(agent.run(ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        try:
            if task.done():
                task.result()
            assert ready.is_set(), f"the agent is not ready within {PATIENCE_S:g} s"
            yield agent
        finally:
            task.cancel()
            waiting.cancel()
            await asyncio.gather(task, waiting, return_exceptions=True)
