"""Clients as a shop has them: they change, order, erase, read; retry when in doubt, send things twice."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import aiohttp
import msgspec

from tests.faults.buyers import Buyer, Pick, until_sure
from tests.faults.caller import TIMEOUT, Caller, Request, client_session, request_for, uuid7
from tests.faults.catalogue import Counted
from tests.faults.erasure_records import EraseAttempt, Erased
from tests.faults.history import Command, Fail, History, Invoke, Ok, Unknown
from tests.faults.shopper import Cart, Shopper

READS: Final = 0.15
ORDER_REQUESTS: Final = 0.06
ERASURES: Final = 0.02
"""The shares of reads, of checkouts and what follows them, of erasures; each of carts that allow it."""


@dataclass(frozen=True)
class Load:
    """How much is asked: clients at once, carts between them, a client's mean pause."""

    clients: int = 16
    carts: int = 48
    pause_seconds: float = 0.05


def anyone(randomness: random.Random) -> int:
    """Either gateway, whatever its state."""
    return randomness.randrange(2)


class LoadGenerator:
    """All clients of a run."""

    def __init__(
        self,
        gateways: Sequence[str],
        history: History,
        seed: int,
        load: Load,
        writing: asyncio.Event,
        pick: Pick,
    ) -> None:
        # Fresh carts for a seed that is played again at the same testbed.
        run = uuid4().hex[:8]
        self.cart_ids: Final = [f"guest:{run}-s{seed}-{index}" for index in range(load.carts)]
        self.spare_ids: Final = [f"guest:{run}-spare-{index}" for index in range(len(gateways))]
        """Carts that no client touches."""
        self.counted: Final = Counted(run)
        self._gateways = gateways
        self._history = history
        self._seed = seed
        self._load = load
        self._writing = writing
        self._pick = pick
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Lets all clients work until `stop`; each ends the operation it is at."""
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            client_session(connector=connector, timeout=TIMEOUT) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(self._load.clients):
                caller = Caller(session, self._gateways, self._history)
                group.create_task(self._work(Client(number, self._seed, caller, self._pick, self.counted)))

    def stop(self) -> None:
        """No more operations."""
        self._stopping.set()

    async def _work(self, client: "Client") -> None:
        carts = [Cart(cart_id) for cart_id in self.cart_ids]
        async with asyncio.TaskGroup() as later:
            while not self._stopping.is_set():
                await self._writing.wait()
                await client.operate(client.randomness.choice(carts), later)
                await asyncio.sleep(client.randomness.expovariate(1 / self._load.pause_seconds))


class Client:
    """One client: a stream of operations, one after the other, decided by its seed and what it sees."""

    def __init__(self, number: int, seed: int, caller: Caller, pick: Pick, counted: Counted) -> None:
        self.randomness: Final = random.Random(f"client {seed}-{number}")
        self._number = number
        self._caller = caller
        self._pick = pick
        self._shopper = Shopper(number, self.randomness, counted)
        self._buyer = Buyer(number, self.randomness, caller, pick)

    async def operate(self, cart: Cart, later: asyncio.TaskGroup) -> None:
        """Reads, changes, orders or erases the cart; a duplicate of it may follow on its own in `later`."""
        chance = self.randomness.random()
        if chance < READS:
            await self._attempt(cart, Request("GET", f"/v1/carts/{cart.cart_id}", None, {}), self._new(cart))
            return
        chance -= READS
        if chance < ORDER_REQUESTS and cart.may_be_ordered:
            await self._buyer.go(cart, later)
            return
        chance -= ORDER_REQUESTS
        if 0 <= chance < ERASURES and cart.may_be_erased:
            await self._erase(cart)
            return
        commands = self._shopper.next_commands(cart)
        if_match = cart.tag if self.randomness.random() < 0.08 else None
        invoke = self._new(cart, uuid7(self.randomness), commands, if_match)
        request = request_for(cart.cart_id, commands, self._headers(invoke))
        chance = self.randomness.random()
        if chance < 0.04:
            await asyncio.gather(
                self._attempt(cart, request, invoke),
                self._attempt(cart, request, again(invoke)),
            )
        else:
            last = await self._until_sure(cart, request, invoke)
            if chance < 0.12:
                later.create_task(self._duplicate(cart, request, last))

    def _new(
        self,
        cart: Cart,
        key: str | None = None,
        commands: tuple[Command, ...] = (),
        if_match: str | None = None,
    ) -> Invoke:
        return Invoke(
            at=0,
            op=self._caller.history.next_op(),
            attempt=1,
            client=self._number,
            cart_id=cart.cart_id,
            key=key,
            commands=commands,
            if_match=if_match,
        )

    async def _erase(self, cart: Cart) -> None:
        """Has the cart erased; each attempt is an erasure of its own."""
        op = self._caller.history.next_op()

        async def attempt(number: int) -> Erased | Fail | Unknown:
            asked = EraseAttempt(at=0, op=op, attempt=number, client=self._number, cart_id=cart.cart_id)
            return await self._caller.attempt_erasure(asked, self._pick(self.randomness))

        await until_sure(attempt, self.randomness)

    def _headers(self, invoke: Invoke) -> dict[str, str]:
        headers = {"idempotency-key": invoke.key or ""}
        if invoke.if_match:
            headers["if-match"] = f'"{invoke.if_match}"'
        prefer = self.randomness.choices(
            ("", "durability=kafka, handling=strict", "durability=postgres", "durability=redis"),
            (85, 7, 4, 4),
        )[0]
        return {**headers, "prefer": prefer} if prefer else headers

    async def _until_sure(self, cart: Cart, request: Request, invoke: Invoke) -> Invoke:
        """The last attempt of those that it took."""
        last = invoke

        async def attempt(number: int) -> Ok | Fail | Unknown:
            nonlocal last
            last = msgspec.structs.replace(invoke, attempt=number)
            return await self._attempt(cart, request, last)

        await until_sure(attempt, self.randomness)
        return last

    async def _duplicate(self, cart: Cart, request: Request, last: Invoke) -> None:
        """The same request once more, at once or after what may have broken meanwhile."""
        await asyncio.sleep(self.randomness.choice((0.0, 0.3, 5.0)))
        await self._attempt(cart, request, again(last))

    async def _attempt(self, cart: Cart, request: Request, invoke: Invoke) -> Ok | Fail | Unknown:
        return await self._caller.attempt(cart, request, invoke, self._pick(self.randomness))


def again(invoke: Invoke) -> Invoke:
    """The next attempt at the same operation."""
    return msgspec.structs.replace(invoke, attempt=invoke.attempt + 1)
