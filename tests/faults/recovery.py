"""Whether the product is itself again after a run: each gateway brings each partition's changes to Kafka."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import aiohttp

from tests.faults.clients import TIMEOUT, Caller, request_for, uuid7
from tests.faults.history import DURABLE, Add, History, Invoke, Ok
from tests.faults.shopper import Cart
from tests.faults.stores import Violation
from topics.partitioner import partition_of
from topics.registry import PARTITIONS

RECOVERY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2
_ADD: Final = Add("recovered", 1, 100)


async def not_recovered(
    gateways: Sequence[str], history: History, cart_ids: Sequence[str], seconds: float = RECOVERY_SECONDS
) -> list[Violation]:
    """The partitions and gateways whose changes get no further than Redis, though nothing is broken now."""
    one_each = {partition_of(cart_id.encode(), PARTITIONS): cart_id for cart_id in cart_ids}
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        caller = Caller(session, gateways, history)
        found = await asyncio.gather(
            *(
                _until_durable(caller, cart_id, gateway, seconds)
                for gateway in range(len(gateways))
                for cart_id in one_each.values()
            )
        )
    return [violation for violation in found if violation is not None]


async def _until_durable(caller: Caller, cart_id: str, gateway: int, seconds: float) -> Violation | None:
    randomness = random.Random()
    last: object = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                key = uuid7(randomness)
                op = caller.history.next_op()
                invoke = Invoke(at=0, op=op, attempt=1, client=-1, cart_id=cart_id, key=key, wishes=(_ADD,))
                request = request_for(cart_id, invoke.wishes, {"idempotency-key": key})
                last = await caller.attempt(Cart(cart_id), request, invoke, gateway)
                if isinstance(last, Ok) and last.durability in DURABLE:
                    return None
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        return Violation("not recovered", cart_id, f"gateway {gateway} says after {seconds:g} s: {last}")
