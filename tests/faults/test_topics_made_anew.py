"""An operator deletes `cart-changed` and `carts` and makes them again while everything runs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from tests.faults.caller import TIMEOUT, request_for
from tests.faults.collect import Collector
from tests.faults.history import Add
from tests.faults.testbed import Testbed
from tests.faults.topology import Topology
from tests.support.waiting import until
from topics.registry import CART_CHANGED, CARTS

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

TEA = Add("tea", 1, 350)
HEALED_WITHIN_S = 300.0
"""Anti-entropy looks at what has waited for a minute, and what it publishes again has its way to go."""


class Shop:
    """Adds of one piece, each with its key until it is acknowledged; counts them by cart."""

    def __init__(self, gateways: tuple[str, ...]) -> None:
        self._gateways = gateways
        self.acknowledged: Counter[str] = Counter()

    async def add(self, session: aiohttp.ClientSession, cart_id: str, gateway: int = 0) -> None:
        """One more piece."""
        request = request_for(cart_id, [TEA], {"idempotency-key": uuid4().hex})
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.request(
                    request.method,
                    self._gateways[gateway] + request.path,
                    json=request.body,
                    headers=request.headers,
                ) as reply:
                    if reply.ok:
                        self.acknowledged[cart_id] += 1
                        return
            await asyncio.sleep(0.2)

    @asynccontextmanager
    async def open(self, cart_ids: list[str]) -> AsyncIterator[None]:
        """Adds to these carts, all the time."""
        ended = asyncio.Event()

        async def client(number: int) -> None:
            async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
                while not ended.is_set():
                    for cart_id in cart_ids[number::2]:
                        await self.add(session, cart_id, number)
                    await asyncio.sleep(0.2)

        clients = asyncio.gather(client(0), client(1))
        try:
            yield
        finally:
            ended.set()
            await clients


def guests(count: int) -> list[str]:
    return [f"guest:{uuid4().hex}-0" for _ in range(count)]


async def test_workers_come_back_by_themselves_and_what_was_acknowledged_is_everywhere(
    tmp_path: Path,
) -> None:
    async with Testbed(tmp_path, Topology(workers=2)) as testbed:
        shop = Shop(testbed.gateways)
        quiet, busy, young = guests(8), guests(8), guests(8)
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            for cart_id in quiet:
                await shop.add(session, cart_id)
            await until_counted(testbed, shop, quiet)
            async with shop.open(busy):
                await until(lambda: min(shop.acknowledged[cart_id] for cart_id in busy) > 3, "a busy shop")
                await testbed.make_anew(CART_CHANGED.name, CARTS.name)
                for cart_id in young:
                    await shop.add(session, cart_id)
            await until_counted(testbed, shop, [*busy, *young])
        await testbed.wait_all_ready()

        # What did not change is where it was; the topics get it from the rows.
        async def is_restored() -> bool:
            await testbed.command("restore", "--from", "postgres")
            code, _ = await testbed.command("verify")
            return code == 0

        await until(is_restored, "all stores are equal", every_s=1.0)
        await until_counted(testbed, shop, [*quiet, *busy, *young])


async def until_counted(testbed: Testbed, shop: Shop, cart_ids: list[str]) -> None:
    """Redis and Postgres have every piece of these carts that was acknowledged, once."""
    expected = {cart_id: {"tea": shop.acknowledged[cart_id]} for cart_id in cart_ids}
    found: list[dict[str, dict[str, int]]] = []

    async def counted() -> bool:
        stores = await collector.copies(cart_ids)
        found[:] = [{cart_id: copy.lines for cart_id, copy in store.items()} for store in stores]
        return all(store == expected for store in found)

    async with Collector(testbed) as collector:
        try:
            await until(counted, "what was acknowledged", HEALED_WITHIN_S, every_s=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}: {expected}, found {found}") from error
