"""The product on a Redis Cluster, and behind sentinels, that change: nothing is lost or counted twice.

Shoppers add on and on through a gateway, each repeating an add under its key until it is taken. What a new
primary lacks of what was acknowledged comes back from Kafka.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from tests.gateway.cart_client import CartClient, Topic, item
from tests.support.http import http_client
from tests.support.processes import GatewayProcess, compaction_process, sink_process
from tests.support.redis_servers import PROGRAMS, ClusterServers, SentinelServers
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.registry import PARTITIONS

pytestmark = pytest.mark.cluster

CARTS = 32


class Shoppers:
    """Each has a cart and adds a piece to it, again and again."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.pieces: Counter[str] = Counter()
        self.failures: list[tuple[float, str]] = []
        self._is_over = False
        self._tasks = [asyncio.create_task(self._shop(f"user:{uuid4().hex}")) for _ in range(CARTS)]

    async def stop(self) -> None:
        """Wait until each add that was begun is taken."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    def total(self) -> int:
        """How many adds were taken."""
        return sum(self.pieces.values())

    async def go_on(self) -> None:
        """Wait until every cart was added to some times more."""
        before = Counter(self.pieces)
        await until(
            lambda: (
                len(self.pieces) == CARTS
                and all(self.pieces[cart] > before[cart] + 3 for cart in self.pieces)
            ),
            "everybody goes on shopping",
        )

    async def _shop(self, cart_id: str) -> None:
        while not self._is_over:
            key = uuid4().hex
            await until(lambda key=key: self._add(cart_id, key), "an add is taken")  # type: ignore[misc]
            self.pieces[cart_id] += 1
            await asyncio.sleep(0.02)

    async def _add(self, cart_id: str, key: str) -> bool:
        try:
            reply = await self._http.post(
                f"/v1/carts/{cart_id}/items", json=item(), headers={"idempotency-key": key}
            )
        except httpx.HTTPError as error:
            self.failures.append((time.monotonic(), repr(error)))
            return False
        if reply.status_code != 200:
            self.failures.append((time.monotonic(), f"{reply.status_code} {reply.json()['type']}"))
        return reply.status_code == 200

    def say(self, what: str) -> None:
        """How much failed, and for how long."""
        times = [at for at, _ in self.failures]
        window = max(times, default=0.0) - min(times, default=0.0)
        sys.stdout.write(f"{what}: {self.total()} adds, {len(times)} failed within {window:.2f} s\n")
        for error, count in Counter(error for _, error in self.failures).most_common():
            sys.stdout.write(f"  {count} {error}\n")


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str | None:
    """The program of the servers: of Valkey, then of Redis 7."""
    found: str | None = request.param
    return found


@asynccontextmanager
async def product(breakable: Urls, redis_url: str, folder: Path) -> AsyncIterator[CartClient]:
    """A gateway and the agents on this Redis; it is restored."""
    urls = breakable._replace(redis=redis_url)
    environment = urls.environment()
    agents = [
        compaction_process(urls.kafka_bootstrap, folder / "compaction"),
        sink_process("postgres", environment, folder / "postgres"),
        sink_process("redis", environment, folder / "redis"),
    ]
    gateway = GatewayProcess(environment, folder / "gateway")
    try:
        await asyncio.gather(*(agent.start() for agent in agents), asyncio.to_thread(gateway.start))
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(PipelinedClient(RedisSettings(redis_url=redis_url)))
            http = await stack.enter_async_context(http_client(gateway.url))
            layout = Layout(PARTITIONS)
            store = CartStore(client, layout)

            async def is_ready() -> bool:
                return len(await store.ready_partitions()) == PARTITIONS

            await until(is_ready, "all partitions restored")
            yield CartClient(http, store, layout, Topic(urls.kafka), urls)
    finally:
        for process in (gateway, *agents):
            process.kill()


async def play(carts: CartClient, what: str, fault: Callable[[], None]) -> None:
    """Shop while something happens; in the end every cart has what was acknowledged, once, in every store."""
    shoppers = Shoppers(carts.http)
    await shoppers.go_on()
    began = time.monotonic()
    await asyncio.to_thread(fault)
    await shoppers.go_on()

    async def is_calm() -> bool:
        """Whether nothing fails any more while everybody goes on."""
        failures = len(shoppers.failures)
        await shoppers.go_on()
        return len(shoppers.failures) == failures

    await until(is_calm, "nothing fails any more")
    await shoppers.stop()
    shoppers.say(what)

    async def has_everything() -> bool:
        found = {cart_id: (await carts.read(cart_id)) for cart_id in shoppers.pieces}
        return all(
            sum(line["quantity"] for line in found[cart_id]["lines"]) == pieces
            for cart_id, pieces in shoppers.pieces.items()
        )

    await until(has_everything, "every cart has what was acknowledged, once")
    await until(carts.outbox_is_empty, "outbox empty")
    assert all(began <= at for at, _ in shoppers.failures)
    assert {error for _, error in shoppers.failures if not error.startswith("503 ")} == set()


async def test_a_primary_of_a_cluster_is_killed(breakable: Urls, tmp_path: Path, program: str | None) -> None:
    with ClusterServers(tmp_path / "cluster", 2000, program) as cluster:
        async with product(breakable, cluster.url, tmp_path) as carts:
            victim = cluster.owner_of(carts.layout.slot(0))
            await play(carts, "a primary killed", victim.kill)


async def test_slots_move_and_a_replica_takes_over(
    breakable: Urls, tmp_path: Path, program: str | None
) -> None:
    with ClusterServers(tmp_path / "cluster", program=program) as cluster:
        async with product(breakable, cluster.url, tmp_path) as carts:
            slot = carts.layout.slot(0)
            old = cluster.owner_of(slot)
            target = next(server for server in cluster.servers[:3] if server is not old)
            await play(carts, "a slot moved", lambda: cluster.move(slot, target))
            other = cluster.owner_of(carts.layout.slot(15))
            replica = cluster.replica_of(other)
            await play(carts, "a failover by hand", lambda: cluster.have_taken_over(replica))


async def test_sentinels_choose_another_master(breakable: Urls, tmp_path: Path, program: str | None) -> None:
    with SentinelServers(tmp_path / "sentinels", 2000, program) as servers:
        async with product(breakable, servers.url, tmp_path) as carts:
            await play(carts, "the master killed", servers.primary.kill)
