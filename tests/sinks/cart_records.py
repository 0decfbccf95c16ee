"""Carts for the tests: states grown by the fold, and the records that stand for them in the topics."""

import time
import uuid
from typing import Final

from aiokafka import AIOKafkaProducer

from carts.fold import fold
from carts.operations import Add, Change, Expire, Item
from carts.state import State, Version
from topics.codec import encode_cart, encode_change, encode_purge_floor
from topics.headers import cart_headers, tombstone_headers
from topics.partitioner import partition_of
from topics.records import PurgeFloor, cart_record, purge_floor_key
from topics.registry import CART_CHANGED, CARTS, PARTITIONS, PURGE_FLOORS

START: Final = 2 * (time.time_ns() // 1000 - 60_000_000)
"""The v of the first operation: a minute ago."""


def new_cart_id() -> str:
    """A cart that no other test has."""
    return f"user:{uuid.uuid4().hex}"


def cart_in(partition: int) -> str:
    """A new cart of this partition."""
    while partition_of((cart_id := new_cart_id()).encode(), PARTITIONS) != partition:
        pass
    return cart_id


def add(cart_id: str, number: int, *, title: str = "Ümläut & co", first: int = START) -> Change:
    """The `number`-th operation of a cart: two pieces of its own product."""
    product = f"product-{number}"
    step = Add(product, 2, 1999, "EUR", Item(product, {"size": "M"}), {"title": title})
    v = first + 2_000 * number
    return Change(
        cart_id=cart_id,
        version=v,
        op_id=f"op-{number}",
        fingerprint="f",
        delta=(step,),
        previous_version=v - 2_000,
        born=first,
    )


def grow(cart_id: str, operations: int, *, state: State | None = None, first: int = START) -> State:
    """The state after this many operations, on top of `state` if there is one."""
    grown = state
    done = 0 if state is None else state.operation_count
    for number in range(done + 1, done + operations + 1):
        grown = fold(grown, add(cart_id, number, first=first)).state
    assert grown is not None
    return grown


def expire(cart_id: str, state: State) -> State:
    """The state once its cart has expired."""
    version = state.version
    step = Expire(version.number, version.operation_count, time.time_ns() // 1000)
    expired = fold(
        state, Change(cart_id=cart_id, version=version.number + 1, op_id="expire", delta=(step,))
    ).state
    assert expired is not None
    assert expired.expired
    return expired


class TopicWriter:
    """Writes what compaction and gateway would."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def state(self, cart_id: str, state: State) -> int:
        """A `carts` record; its offset."""
        value = encode_cart(cart_record(cart_id, state))
        return await self.raw(cart_id, value, cart_headers(cart_id, state.version, None))

    async def states(self, states: dict[str, State]) -> None:
        """A `carts` record each."""
        for future in [
            await self._producer.send(
                CARTS.name,
                encode_cart(cart_record(cart_id, state)),
                cart_id.encode(),
                partition_of(cart_id.encode(), PARTITIONS),
                headers=cart_headers(cart_id, state.version, None),
            )
            for cart_id, state in states.items()
        ]:
            await future

    async def null(self, cart_id: str, version: Version | None) -> int:
        """A null in `carts`, with or without the version that it deletes; its offset."""
        return await self.raw(cart_id, None, tombstone_headers(cart_id, version, None) if version else [])

    async def raw(
        self, cart_id: str, value: bytes | None, headers: list[tuple[str, bytes]] | None = None
    ) -> int:
        """Any `carts` record; its offset."""
        partition = partition_of(cart_id.encode(), PARTITIONS)
        sent = await self._producer.send_and_wait(
            CARTS.name, value, cart_id.encode(), partition, headers=headers or []
        )
        offset: int = sent.offset
        return offset

    async def purge_floor(self, partition: int, floor: int) -> None:
        """The highest version ever deleted in the partition."""
        value = encode_purge_floor(PurgeFloor(floor))
        await self._producer.send_and_wait(PURGE_FLOORS.name, value, purge_floor_key(partition), partition)

    async def change(self, change: Change) -> None:
        """A `cart-changed` record."""
        key = change.cart_id.encode()
        await self._producer.send_and_wait(
            CART_CHANGED.name, encode_change(change), key, partition_of(key, PARTITIONS)
        )
