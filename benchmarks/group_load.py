"""A steady load of changes and requests for merges straight into Kafka, on every partition alike."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Final
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaProducer

from benchmarks.produce import add_product
from carts.operations import Change
from topics.codec import encode_change
from topics.headers import change_headers, merge_headers
from topics.partitioner import partition_of
from topics.records import MergeRecord
from topics.registry import CART_CHANGED, CART_MERGES, PARTITIONS

PREFIX: Final = "user:scale-"
"""Of the ids of the carts that are changed."""
CARTS_A_PARTITION: Final = 40
TURN_S: Final = 0.1
CHANGES_A_PARTITION: Final = 2
"""Each turn; one merge besides, of a cart that does not exist: the agent looks it up."""


class Load:
    """Changes of all carts and requests for merges at a steady rate."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self.acknowledged: Counter[str] = Counter()
        """Changes that Kafka has taken, by cart."""
        self._carts = _carts_by_partition()
        self._born = 2 * (time.time_ns() // 1000)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Produce meanwhile; all of it is acknowledged afterwards."""
        ended = asyncio.Event()
        task = asyncio.create_task(self._run(ended))
        try:
            yield
        finally:
            ended.set()
            await task

    async def _run(self, ended: asyncio.Event) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all", linger_ms=5) as producer:
            for turn in count():
                if ended.is_set():
                    return
                sends = [self._merge(producer, carts[turn % len(carts)]) for carts in self._carts]
                for i in range(CHANGES_A_PARTITION):
                    at = turn * CHANGES_A_PARTITION + i
                    sends += [self._change(producer, carts[at % len(carts)]) for carts in self._carts]
                await asyncio.gather(*sends, asyncio.sleep(TURN_S))

    async def _change(self, producer: AIOKafkaProducer, cart_id: str) -> None:
        v = 2 * (time.time_ns() // 1000)
        change = Change(
            cart_id=cart_id,
            version=v,
            op_id=uuid4().hex,
            delta=(add_product("sku-1", 1),),
            previous_version=None,
            born=self._born,
        )
        await producer.send_and_wait(
            CART_CHANGED.name,
            encode_change(change),
            key=cart_id.encode(),
            partition=partition_of(cart_id.encode(), PARTITIONS),
            headers=change_headers(cart_id, v, change.op_id),
        )
        self.acknowledged[cart_id] += 1

    async def _merge(self, producer: AIOKafkaProducer, cart_id: str) -> None:
        record = MergeRecord(
            merge_id=uuid4().hex,
            guest_cart_id=f"guest:{uuid4().hex}",
            cart_id=cart_id,
            requested_at=datetime.now(UTC),
        )
        key = cart_id.encode()
        await producer.send_and_wait(
            CART_MERGES.name,
            msgspec.json.encode(record),
            key=key,
            partition=partition_of(key, PARTITIONS),
            headers=merge_headers(record),
        )


def _carts_by_partition() -> list[list[str]]:
    """So many cart ids of each partition."""
    carts: list[list[str]] = [[] for _ in range(PARTITIONS)]
    for number in count():
        cart_id = f"{PREFIX}{number}"
        found = carts[partition_of(cart_id.encode(), PARTITIONS)]
        if len(found) < CARTS_A_PARTITION:
            found.append(cart_id)
        elif all(len(each) == CARTS_A_PARTITION for each in carts):
            return carts
    raise AssertionError
