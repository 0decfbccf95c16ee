"""One hand that does one thing at a time, for tests of the worst moments; all it does is in the history."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaProducer

from carts.limits import TIMING
from carts.state import State
from tests.faults.caller import (
    NOT_CONNECTED,
    REFUSALS,
    TIMEOUT,
    Caller,
    Request,
    client_session,
    request_for,
    uuid7,
)
from tests.faults.catalogue import stock
from tests.faults.checks import violations
from tests.faults.collect import Collector
from tests.faults.faults import recorded
from tests.faults.history import DURABLE, Command, Fail, History, Invoke, Ok, Unknown
from tests.faults.load_generator import again
from tests.faults.order_records import Cancel, CheckOut, OrderAttempt, Ordered, OrderRequest
from tests.faults.run import QUIET_SECONDS, quiet
from tests.faults.schedule import Kind
from tests.faults.shopper import Cart
from tests.faults.stores import Stores
from tests.faults.testbed import Testbed
from tests.support.waiting import PATIENCE_S
from topics.codec import encode_cart
from topics.headers import cart_headers
from topics.partitioner import partition_of
from topics.records import cart_record
from topics.registry import CARTS

_POLL_SECONDS: Final = 0.02


class Scenario:
    """A cart of its own on a testbed, changed in steps; `settled` waits for quiet and holds all checks."""

    def __init__(self, testbed: Testbed, folder: Path) -> None:
        self.cart: Final = Cart(f"guest:{uuid4().hex}-0")
        self.testbed: Final = testbed
        folder.mkdir(parents=True, exist_ok=True)
        self.history: Final = History(folder / "history.jsonl")
        self.collector: Final = Collector(testbed)
        self._randomness = random.Random()
        self._cleanup = AsyncExitStack()
        self._caller: Caller

    async def __aenter__(self) -> Self:
        session = await self._cleanup.enter_async_context(client_session(timeout=TIMEOUT))
        self._cleanup.enter_context(self.history)
        await self._cleanup.enter_async_context(self.collector)
        self._caller = Caller(session, self.testbed.gateways, self.history)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()

    def plan(self, *commands: Command) -> Invoke:
        """An operation with a key of its own, not sent yet."""
        op = self.history.next_op()
        key = uuid7(self._randomness)
        return Invoke(at=0, op=op, attempt=1, client=0, cart_id=self.cart.cart_id, key=key, commands=commands)

    async def send(self, invoke: Invoke, gateway: int = 0) -> Ok | Fail | Unknown:
        """One attempt at an operation."""
        request = request_for(invoke.cart_id, invoke.commands, {"idempotency-key": invoke.key or ""})
        return await self._caller.attempt(self.cart, request, invoke, gateway)

    async def until_ok(self, invoke: Invoke, gateway: int = 0) -> Ok:
        """Attempts at an operation, always with its key, until one is acknowledged."""
        return await self._until(lambda _: True, invoke, gateway)

    async def until_durable(self, invoke: Invoke, gateway: int = 0) -> Ok:
        """The same, until one is acknowledged as being in Kafka: Redis may lose the rest."""
        return await self._until(lambda result: result.durability in DURABLE, invoke, gateway)

    async def _until(self, is_enough: Callable[[Ok], bool], invoke: Invoke, gateway: int) -> Ok:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                result = await self.send(invoke, gateway)
                if isinstance(result, Ok) and is_enough(result):
                    return result
                invoke = again(invoke)
                await asyncio.sleep(_POLL_SECONDS)

    async def stock(self, **pieces: int) -> dict[str, str]:
        """Makes counted products of the scenario's own; their ids by the names given."""
        names = {name: f"{name}-{uuid4().hex[:8]}" for name in pieces}
        await stock(
            self.testbed.gateways[0], self.history, {names[name]: count for name, count in pieces.items()}
        )
        return names

    def plan_checkout(self) -> OrderAttempt:
        """A checkout with a key of its own, not sent yet."""
        return self._asked(CheckOut("shop@shop.example"), uuid7(self._randomness))

    async def run(self, asked: OrderAttempt, gateway: int = 0) -> Ordered | Fail | Unknown:
        """One attempt at an order request."""
        return await self._caller.attempt_order(self.cart, asked, gateway)

    async def until_ordered(self, asked: OrderAttempt, gateway: int = 0) -> Ordered:
        """Attempts at an order request, always with its key, until an order is the answer."""
        result = await self._until_decided(asked, gateway)
        assert isinstance(result, Ordered), result
        return result

    async def until_refused(self, asked: OrderAttempt, gateway: int = 0) -> Fail:
        """Attempts at an order request, always with its key, until it is refused for good."""
        result = await self._until_decided(asked, gateway)
        assert isinstance(result, Fail), result
        return result

    async def _until_decided(self, asked: OrderAttempt, gateway: int) -> Ordered | Fail:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                asked = msgspec.structs.replace(asked, attempt=asked.attempt + 1)
                result = await self.run(asked, gateway)
                if isinstance(result, Ordered):
                    return result
                if isinstance(result, Fail) and result.reason not in {*REFUSALS, NOT_CONNECTED}:
                    return result
                await asyncio.sleep(_POLL_SECONDS)

    async def order(self, gateway: int = 0) -> Ordered:
        """A new order of the cart."""
        return await self.until_ordered(self.plan_checkout(), gateway)

    async def cancel(self, order_id: str) -> Ordered:
        """The order, cancelled."""
        return await self.until_ordered(self._asked(Cancel(order_id)))

    def _asked(self, order_request: OrderRequest, key: str | None = None) -> OrderAttempt:
        op = self.history.next_op()
        return OrderAttempt(
            at=0, op=op, attempt=1, client=0, cart_id=self.cart.cart_id, order_request=order_request, key=key
        )

    async def do(self, *commands: Command) -> Ok:
        """A new operation, until it is acknowledged."""
        return await self.until_ok(self.plan(*commands))

    async def do_durably(self, *commands: Command) -> Ok:
        """A new operation, until it is acknowledged as being in Kafka."""
        return await self.until_durable(self.plan(*commands))

    async def until_in_outbox(self) -> None:
        """Returns once a change is in Redis and waits for Kafka."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await self.collector.outbox():
                    return
                await asyncio.sleep(_POLL_SECONDS)

    async def until_publishing_is_too_late(self) -> None:
        """Returns when the broker refuses whatever was changed before this was called."""
        # No condition tells: it is the passing of the time itself that matters.
        await asyncio.sleep(TIMING.publish_deadline_us / 1_000_000 + 1)

    async def kill(self, name: str) -> None:
        """Ends a component with SIGKILL; its supervisor starts it again."""
        with recorded(self.history, Kind.KILL, name):
            await self.testbed.kill(name)

    async def wipe(self) -> None:
        """FLUSHALL."""
        with recorded(self.history, Kind.FLUSH, "redis"):
            await self.testbed.flush_redis()

    async def replica(self) -> Path:
        """A replica of Redis that receives nothing from now on."""
        return await self.testbed.copy_of_redis()

    async def fail_over(self, replica: Path) -> None:
        """Redis dies, the replica takes its place."""
        with recorded(self.history, Kind.STALE_WRITTEN, "redis"):
            await self.testbed.roll_back_redis(replica)

    async def write_to_carts(self, state: State) -> None:
        """A record in `carts` that the owner of its partition has not written, as a frozen worker's is."""
        cart_id = self.cart.cart_id
        value = encode_cart(cart_record(cart_id, state))
        headers = cart_headers(cart_id, state.version, None)
        partition = partition_of(cart_id.encode(), self.testbed.topology.partitions)
        async with AIOKafkaProducer(bootstrap_servers=self.testbed.urls.kafka_bootstrap) as producer:
            await producer.send_and_wait(CARTS.name, value, cart_id.encode(), partition, headers=headers)

    async def read(self) -> Ok:
        """The cart as a gateway shows it, once it does."""
        path = f"/v1/carts/{self.cart.cart_id}"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                op = self.history.next_op()
                invoke = Invoke(at=0, op=op, attempt=1, client=0, cart_id=self.cart.cart_id)
                result = await self._caller.attempt(self.cart, Request("GET", path, None, {}), invoke, 0)
                if isinstance(result, Ok) and not result.stale:
                    return result
                await asyncio.sleep(_POLL_SECONDS)

    async def look(self, seconds: float = QUIET_SECONDS) -> Stores:
        """The stores when all has landed, or after `seconds`."""
        await self.testbed.wait_all_ready()
        return await quiet(self.collector, [self.cart.cart_id], self.history, seconds)

    async def settled(self) -> Stores:
        """The stores when all has landed; fails where the history and the stores contradict each other."""
        stores = await self.look()
        found = violations(self.history.records, stores)
        assert not found, "\n".join(str(violation) for violation in found)
        return stores

    def lines(self, stores: Stores) -> dict[str, int]:
        """Pieces by line of the cart."""
        return stores.rows[self.cart.cart_id].lines
