"""Realistic records for the measurements: changes for compaction, states for restore."""

import asyncio
import hashlib
import random
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaProducer

from carts.fold import fold
from carts.operations import Add, Change, Item
from carts.state import State
from topics.codec import encode_cart, encode_change
from topics.headers import Headers, cart_headers, change_headers
from topics.partitioner import partition_of
from topics.records import cart_record
from topics.registry import CART_CHANGED, CARTS, PARTITIONS

_IN_FLIGHT = 5000
_TEN_MINUTES_US = 600_000_000


class Produced(msgspec.Struct, frozen=True):
    """A record to produce."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


def changes(count: int, carts: int, gap_us: int) -> Iterator[Produced]:
    """`count` adds of 20 products to `carts` carts in random order, `gap_us` apart, the last one made now."""
    dice = random.Random(1)
    first = 2 * (time.time_ns() // 1000 - count * gap_us)
    newest: dict[int, int] = {}
    born: dict[int, int] = {}
    for i in range(count):
        cart, v = dice.randrange(carts), first + 2 * i * gap_us
        cart_id = f"user:bench-{cart}"
        change = Change(
            cart_id=cart_id,
            version=v,
            op_id=f"0190c0de-7000-7000-8000-{i:012x}",
            fingerprint="0123456789abcdef",
            delta=(add_product(f"sku-{dice.randrange(20)}", 1),),
            previous_version=newest.get(cart, 0),
            born=born.setdefault(cart, v),
            cause="items",
        )
        newest[cart] = v
        yield Produced(
            CART_CHANGED.name,
            cart_id.encode(),
            encode_change(change),
            change_headers(cart_id, v, change.op_id),
        )


def states(count: int) -> Iterator[Produced]:
    """The `carts` records of `count` carts of 3 lines, each made by 3 adds some seconds ago."""
    born = 2 * (time.time_ns() // 1000 - 10_000_000)
    for i in range(count):
        cart_id = f"user:bench-{i}"
        state: State | None = None
        for k in range(3):
            op_id = hashlib.sha1(f"{i}:{k}".encode(), usedforsecurity=False).hexdigest()[:36]
            change = Change(
                cart_id=cart_id,
                version=born + 2_000_000 * k,
                op_id=op_id,
                fingerprint="0123456789abcdef",
                delta=(add_product(f"sku-{(i * 7 + k) % 5000}", 1 + k),),
                previous_version=0,
                born=born,
            )
            state = fold(state, change).state
        assert state is not None
        yield Produced(
            CARTS.name,
            cart_id.encode(),
            encode_cart(cart_record(cart_id, state)),
            cart_headers(cart_id, state.version, None),
        )


def copies(count: int, carts: int) -> Iterator[Produced]:
    """`count` records of `carts`, of so many carts in turn; each cart grows by an add from record to record.

    They are copies of one cart under many ids, which are made quickly.
    """
    template = "user:template"
    grown = [_grown(template, times) for times in range(1, -(-count // carts) + 1)]
    values = [encode_cart(cart_record(template, state)) for state in grown]
    for i in range(count):
        cart_id, turn = f"user:bench-{i % carts}", i // carts
        value = values[turn].replace(template.encode(), cart_id.encode())
        yield Produced(CARTS.name, cart_id.encode(), value, cart_headers(cart_id, grown[turn].version, None))


def _grown(cart_id: str, adds: int) -> State:
    """A cart after so many adds, ten minutes apart: two of them are in its window."""
    born = 2 * (time.time_ns() // 1000) - adds * 2 * _TEN_MINUTES_US
    state: State | None = None
    for n in range(adds):
        change = _change(cart_id, born + n * 2 * _TEN_MINUTES_US, born, f"sku-{n % 3}")
        state = fold(state, change).state
    assert state is not None
    return state


def adds(carts: int) -> Iterator[Produced]:
    """Adds to carts of `copies`, without an end."""
    while True:
        cart_id, version = f"user:bench-{random.randrange(carts)}", 2 * (time.time_ns() // 1000)
        change = _change(cart_id, version, version, f"sku-{random.randrange(20)}")
        headers = change_headers(cart_id, version, change.op_id)
        yield Produced(CART_CHANGED.name, cart_id.encode(), encode_change(change), headers)


def _change(cart_id: str, version: int, born: int, product_id: str) -> Change:
    return Change(
        cart_id=cart_id,
        version=version,
        op_id=str(uuid4()),
        fingerprint="0123456789abcdef",
        delta=(add_product(product_id, 1),),
        previous_version=0,
        born=born,
        cause="items",
    )


def add_product(product_id: str, quantity: int) -> Add:
    """An add at a fixed price."""
    return Add(product_id, quantity, 1999, "EUR", Item(product_id), {"title": "Blue shirt", "size": "M"})


def produce(bootstrap: str, records: Iterable[Produced]) -> None:
    """Produce all records and wait for their acknowledgements."""
    asyncio.run(_produce(bootstrap, iter(records)))


async def send(producer: AIOKafkaProducer, record: Produced) -> asyncio.Future[Any]:
    """Send one to the partition of its key; the future is its acknowledgement."""
    sent: asyncio.Future[Any] = await producer.send(
        record.topic,
        record.value,
        record.key,
        partition=partition_of(record.key, PARTITIONS),
        headers=record.headers,
    )
    return sent


async def _produce(bootstrap: str, records: Iterator[Produced]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=20, max_batch_size=512 << 10
    )
    await producer.start()
    try:
        while some := list(islice(records, _IN_FLIGHT)):
            sent = [await send(producer, record) for record in some]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()
