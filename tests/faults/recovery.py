"""Whether the product is itself again after a run: each gateway brings changes to Kafka and places orders."""

import asyncio
import random
from collections.abc import Iterable
from typing import Final

import aiohttp

from tests.faults.caller import TIMEOUT, Caller, request_for, uuid7
from tests.faults.catalogue import price
from tests.faults.history import DURABLE, Add, History, Invoke, Ok
from tests.faults.order_records import CheckOut, OrderAttempt, Ordered
from tests.faults.shopper import Cart
from tests.faults.stores import Violation
from tests.faults.testbed import Testbed
from topics.partitioner import partition_of

RECOVERY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2
_ADD: Final = Add("recovered", 1, price("recovered"))


async def not_recovered(
    testbed: Testbed,
    history: History,
    cart_ids: Iterable[str],
    spare_ids: Iterable[str],
    seconds: float = RECOVERY_SECONDS,
) -> list[Violation]:
    """The partitions and gateways whose changes get no further than Redis, though nothing is broken now.

    And the gateways that place no order; each orders one of the carts of `spare_ids`.
    """
    gateways, partitions = testbed.gateways, testbed.topology.partitions
    one_each = {partition_of(cart_id.encode(), partitions): cart_id for cart_id in cart_ids}
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        probe = _Probe(Caller(session, gateways, history), seconds)
        found = await asyncio.gather(
            *(
                probe.until_durable(cart_id, gateway)
                for gateway in range(len(gateways))
                for cart_id in one_each.values()
            ),
            *(probe.until_ordered(cart_id, gateway) for gateway, cart_id in enumerate(spare_ids)),
        )
    return [violation for violation in found if violation is not None]


class _Probe:
    def __init__(self, caller: Caller, seconds: float) -> None:
        self._caller = caller
        self._seconds = seconds
        self._randomness = random.Random()

    async def until_durable(self, cart_id: str, gateway: int) -> Violation | None:
        """Adds until an add is in Kafka."""
        last: object = None
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    key = uuid7(self._randomness)
                    op = self._caller.history.next_op()
                    invoke = Invoke(
                        at=0, op=op, attempt=1, client=-1, cart_id=cart_id, key=key, commands=(_ADD,)
                    )
                    request = request_for(cart_id, invoke.commands, {"idempotency-key": key})
                    last = await self._caller.attempt(Cart(cart_id), request, invoke, gateway)
                    if isinstance(last, Ok) and last.durability in DURABLE:
                        return None
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            return self._not_recovered(cart_id, gateway, last)

    async def until_ordered(self, cart_id: str, gateway: int) -> Violation | None:
        """Adds, then checks out with one key until there is an order."""
        if (violation := await self.until_durable(cart_id, gateway)) is not None:
            return violation
        last: object = None
        attempt = 0
        key, op = uuid7(self._randomness), self._caller.history.next_op()
        try:
            async with asyncio.timeout(self._seconds):
                while not isinstance(last, Ordered):
                    attempt += 1
                    asked = OrderAttempt(
                        at=0,
                        op=op,
                        attempt=attempt,
                        client=-1,
                        cart_id=cart_id,
                        order_request=CheckOut(),
                        key=key,
                    )
                    last = await self._caller.attempt_order(Cart(cart_id), asked, gateway)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            return self._not_recovered(cart_id, gateway, last)
        return None

    def _not_recovered(self, cart_id: str, gateway: int, last: object) -> Violation:
        return Violation(
            "not recovered", cart_id, f"gateway {gateway} says after {self._seconds:g} s: {last}"
        )
