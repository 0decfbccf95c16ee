"""Several workers on one port: reloaded under load, killed, stopped, and counted together."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import psutil
import pytest

from tests.gateway.cart_client import PATIENT, CartClient, item
from tests.gateway.conftest import client_of
from tests.support.http import http_client
from tests.support.processes import GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until

StartGateway = Callable[..., GatewayProcess]

CLIENTS = 8
ADDS_PER_CART = 100
"""Well below the changes that a window holds: a slow reload must not fill it."""


class Shoppers:
    """Clients that add one piece after another, each to its own carts; a failed request fails the test."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self.answered = [0] * CLIENTS
        self.acknowledged: Counter[str] = Counter()
        self.stopping = asyncio.Event()

    async def shop(self, number: int) -> None:
        """Add until told to stop."""
        async with http_client(self._url) as http:
            while not self.stopping.is_set():
                cart_id = f"{self._prefix}-{number}-{self.answered[number] // ADDS_PER_CART}"
                reply = await http.post(f"/v1/carts/{cart_id}/items", json=item())
                assert reply.status_code == 200, reply.text
                self.answered[number] += 1
                self.acknowledged[cart_id] += 1

    @property
    def count(self) -> int:
        """Adds acknowledged so far."""
        return sum(self.acknowledged.values())

    async def go_on(self) -> None:
        """Returns when each client has had some more requests answered."""
        before = list(self.answered)

        async def all_went_on() -> bool:
            return all(now >= then + 10 for then, now in zip(before, self.answered, strict=True))

        await until(all_went_on, "10 more adds of each client")


@asynccontextmanager
async def shopping(gateway: GatewayProcess, cart_id: str) -> AsyncIterator[Shoppers]:
    shoppers = Shoppers(gateway.url, cart_id)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(shoppers.shop(number))
        await shoppers.go_on()
        try:
            yield shoppers
        finally:
            shoppers.stopping.set()


async def assert_all_there(carts: CartClient, shoppers: Shoppers) -> None:
    for cart_id, pieces in shoppers.acknowledged.items():
        assert await carts.quantities(cart_id) == {"sku-1": pieces}


@pytest.mark.drill
async def test_a_rolling_reload_under_load_fails_no_request(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    # A client slower than the drain may find its idle connection closed just as it sends (RFC 9112, 9.3).
    gateway = start_gateway(**PATIENT, CARTSTREAM_GATEWAY_WORKERS="2", CARTSTREAM_DRAIN_S="5")
    before = gateway.workers()
    assert len(before) == 2

    async def all_are_new() -> bool:
        now = gateway.workers()
        return len(now) == 2 and not now & before

    async with client_of(gateway, breakable) as carts:
        async with shopping(gateway, cart_id) as shoppers:
            gateway.send(signal.SIGHUP)
            await until(all_are_new, "both workers reloaded")
            await shoppers.go_on()
        await assert_all_there(carts, shoppers)


async def test_a_killed_worker_is_replaced_while_the_other_serves(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    gateway = start_gateway(CARTSTREAM_GATEWAY_WORKERS="2")
    victim, survivor = sorted(gateway.workers())

    async def replaced() -> bool:
        now = gateway.workers()
        return len(now) == 2 and victim not in now

    async def sells(carts: CartClient, key: str) -> bool:
        # One that was in the victim's hands: the same key, once more.
        try:
            return (await carts.add(cart_id, idempotency_key=key)).status_code == 200
        except httpx.TransportError:
            return False

    async with client_of(gateway, breakable) as carts:
        assert await sells(carts, "before")
        os.kill(victim, signal.SIGKILL)
        for number in range(20):
            await until(lambda key=str(number): sells(carts, key), "sold")  # type: ignore[misc]
        await until(replaced, "a new worker")
        assert survivor in gateway.workers()
        assert await carts.quantities(cart_id) == {"sku-1": 21}


async def test_both_workers_get_connections_and_are_counted_together(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    gateway = start_gateway(**PATIENT, CARTSTREAM_GATEWAY_WORKERS="2")
    async with client_of(gateway, breakable), shopping(gateway, cart_id) as shoppers:
        async with AsyncExitStack() as stack:

            async def both_have_some() -> bool:
                # Which worker takes a connection is the kernel's choice; of a burst one may take all.
                client = await stack.enter_async_context(http_client(gateway.url))
                await client.get("/health/live")
                return all(established(pid, gateway.port) for pid in gateway.workers())

            await until(both_have_some, "both workers have connections")
        shoppers.stopping.set()
        served = shoppers

    async with client_of(gateway, breakable) as carts:

        async def all_are_counted() -> bool:
            exposed = (await carts.http.get("/metrics")).text
            counted = re.findall(
                r'^cartstream_gateway_changes_total\{durability="(\w+)"\} (\S+)$', exposed, re.MULTILINE
            )
            return sum(float(count) for _, count in counted) == served.count

        # What the other worker has counted lately is not in its file yet.
        await until(all_are_counted, "all changes are counted")


def established(pid: int, port: int) -> int:
    connections = psutil.Process(pid).net_connections(kind="tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in connections)


async def test_sigterm_stops_all_workers_and_the_supervisor(start_gateway: StartGateway) -> None:
    gateway = start_gateway(CARTSTREAM_GATEWAY_WORKERS="2")
    workers = gateway.workers()
    assert await asyncio.to_thread(gateway.stop) == 0
    assert not [pid for pid in workers if psutil.pid_exists(pid)]


async def test_workers_do_not_outlive_a_killed_supervisor_and_leave_the_port_to_the_next(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    gateway = start_gateway(CARTSTREAM_GATEWAY_WORKERS="2")
    workers = gateway.workers()
    gateway.kill()

    async def are_gone() -> bool:
        return not [pid for pid in workers if psutil.pid_exists(pid)]

    await until(are_gone, "workers ended")
    gateway.start()
    async with client_of(gateway, breakable) as carts:
        assert (await carts.add(cart_id)).status_code == 200
