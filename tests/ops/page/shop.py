"""A shop to look at: shoppers who fill carts, and what goes wrong in it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import httpx
import redis
from aiokafka import AIOKafkaProducer

from devstack.embedded import EmbeddedStack
from runtime.settings import KafkaSettings
from tests.ops.states import Changes
from tests.sinks.cart_records import add, new_cart_id
from topics.codec import encode_change
from topics.partitioner import partition_of
from topics.registry import PARTITIONS

PRODUCTS: Final = ("cappuccino-cup", "espresso-cup", "tea-towel")
_PAUSE_S: Final = 0.02


class Shoppers:
    """Fill carts and read them, one after the other, until they are told to stop."""

    def __init__(self, gateway: str) -> None:
        self._gateway: Final = gateway
        self._stop: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._shop, daemon=True)

    def __enter__(self) -> "Shoppers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _shop(self) -> None:
        with httpx.Client(base_url=self._gateway, timeout=30) as client:
            number = 0
            cart = new_cart_id()
            while not self._stop.wait(_PAUSE_S):
                if number % 5 == 0:
                    cart = new_cart_id()
                item = {"product_id": PRODUCTS[number % len(PRODUCTS)], "quantity": 1}
                client.post(f"/v1/carts/{cart}/items", json=item)
                client.get(f"/v1/carts/{cart}")
                number += 1


@contextmanager
def redis_wiped_and_nobody_restores(stack: EmbeddedStack) -> Iterator[None]:
    """Redis has lost everything, and the agent that brings it back is frozen until the end."""
    agent = stack.component("sink-redis")
    agent.pause()
    try:
        with redis.Redis.from_url(stack.urls.redis) as client:
            client.flushall()
        yield
    finally:
        agent.resume()


@contextmanager
def dead(stack: EmbeddedStack, name: str) -> Iterator[None]:
    """The component was killed with -9, and nobody starts it again before the end."""
    component = stack.component(name)
    component.kill()
    try:
        yield
    finally:
        component.start()


def wrong_records(stack: EmbeddedStack, misplaced: int, poison: int) -> list[str]:
    """Records that compaction gives up, some in a wrong partition and some that are no JSON; their carts."""
    carts = [new_cart_id() for _ in range(misplaced + poison)]

    async def write(changes: Changes) -> None:
        for cart_id in carts[:misplaced]:
            wrong = (partition_of(cart_id.encode(), PARTITIONS) + 1) % PARTITIONS
            await changes.raw(cart_id, encode_change(add(cart_id, 1)), partition=wrong)
        for cart_id in carts[misplaced:]:
            await changes.raw(cart_id, b"not JSON \xff")

    _with_changes(stack, write)
    return carts


def _with_changes(stack: EmbeddedStack, work: Callable[[Changes], Awaitable[None]]) -> None:
    async def run() -> None:
        settings = KafkaSettings(kafka_bootstrap=stack.urls.kafka_bootstrap)
        async with AIOKafkaProducer(**settings.client_options(), acks="all") as producer:
            await work(Changes(producer))

    # The browser's driver has a loop in this thread already.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, run()).result()
