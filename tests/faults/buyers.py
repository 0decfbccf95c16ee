"""What a client does about orders: places them, cancels some of its own, looks at them."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from tests.faults.caller import NOT_CONNECTED, REFUSALS, Caller, uuid7
from tests.faults.erasure_records import Erased
from tests.faults.history import Fail, Ok, Unknown
from tests.faults.order_records import Cancel, CheckOut, Look, OrderAttempt, Ordered, OrderRequest
from tests.faults.shopper import Cart

RETRY_SECONDS: Final = 60.0
"""How long a client tries again with the same key; within the product's horizon of ten minutes."""

Pick = Callable[[random.Random], int]
"""Which gateway gets the next attempt."""

Result = TypeVar("Result", Ok | Fail | Unknown, Ordered | Fail | Unknown, Erased | Fail | Unknown)


async def until_sure(attempt: Callable[[int], Awaitable[Result]], randomness: random.Random) -> Result:
    """Tries until somebody says what happened; one client in ten times gives up at the first doubt.

    `attempt` gets its number, from 1.
    """
    end = time.monotonic() + (0.0 if randomness.random() < 0.1 else RETRY_SECONDS)
    pause = 0.1
    number = 1
    while True:
        result = await attempt(number)
        refused = isinstance(result, Fail) and result.reason not in {*REFUSALS, NOT_CONNECTED}
        if isinstance(result, Ok | Ordered | Erased) or refused or time.monotonic() > end:
            return result
        await asyncio.sleep(pause)
        pause = min(2 * pause, 1.0)
        number += 1


class Buyer:
    """One client's order requests, one after the other; in ten checkouts one is sent twice at once."""

    def __init__(self, number: int, randomness: random.Random, caller: Caller, pick: Pick) -> None:
        self._number = number
        self._randomness = randomness
        self._caller = caller
        self._pick = pick
        self._mine: list[tuple[str, str]] = []

    async def go(self, cart: Cart, later: asyncio.TaskGroup) -> None:
        """Orders the cart, or sees to an earlier order; a duplicate may follow on its own in `later`."""
        chance = self._randomness.random()
        if not self._mine or chance < 0.7:
            await self._check_out(cart, later)
            return
        cart_id, order_id = self._randomness.choice(self._mine)
        order_request = Cancel(order_id) if chance < 0.85 else Look(order_id)
        await self._until_sure(Cart(cart_id), self._new(cart_id, order_request))

    async def _check_out(self, cart: Cart, later: asyncio.TaskGroup) -> None:
        # Some want no mail.
        email = f"buyer-{self._number}@shop.example" if self._randomness.random() < 0.9 else None
        asked = self._new(cart.cart_id, CheckOut(email), uuid7(self._randomness))
        chance = self._randomness.random()
        if chance < 0.1:
            second = msgspec.structs.replace(asked, attempt=2)
            results = list(await asyncio.gather(self._attempt(cart, asked), self._attempt(cart, second)))
        else:
            results = [await self._until_sure(cart, asked)]
        for result in results:
            if isinstance(result, Ordered) and (cart.cart_id, result.order_id) not in self._mine:
                self._mine.append((cart.cart_id, result.order_id))
        if 0.1 < chance < 0.2:
            later.create_task(self._duplicate(cart, asked))

    def _new(self, cart_id: str, order_request: OrderRequest, key: str | None = None) -> OrderAttempt:
        op = self._caller.history.next_op()
        return OrderAttempt(
            at=0, op=op, attempt=1, client=self._number, cart_id=cart_id, order_request=order_request, key=key
        )

    async def _until_sure(self, cart: Cart, asked: OrderAttempt) -> Ordered | Fail | Unknown:
        async def attempt(number: int) -> Ordered | Fail | Unknown:
            return await self._attempt(cart, msgspec.structs.replace(asked, attempt=number))

        return await until_sure(attempt, self._randomness)

    async def _duplicate(self, cart: Cart, asked: OrderAttempt) -> None:
        """The same checkout once more, at once or after what may have broken meanwhile."""
        await asyncio.sleep(self._randomness.choice((0.0, 0.3, 5.0)))
        await self._attempt(cart, msgspec.structs.replace(asked, attempt=99))

    async def _attempt(self, cart: Cart, asked: OrderAttempt) -> Ordered | Fail | Unknown:
        return await self._caller.attempt_order(cart, asked, self._pick(self._randomness))
