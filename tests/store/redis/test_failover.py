"""A cluster, and sentinels, that change under load: nothing acknowledged is lost or applied twice.

Adds go on all the time, each repeated under its id until it is answered. What fails, fails only while the
servers change; how long that is, is printed. An add counts once a replica has it (in the product: Kafka).
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from carts.operations import Add, Item
from store.redis import (
    Applied,
    CartStore,
    ChangeRequest,
    ChangeSubscriber,
    Layout,
    PipelinedClient,
    RedisSettings,
    Replayed,
    StoreBroken,
    StoredCart,
    StoreError,
    StoreUnavailable,
    UnknownOutcome,
)
from tests.store.redis.conftest import ABSENCE, PARTITIONS, StoreFixture
from tests.store.redis.test_subscriber import NAME, Heard, cart_of
from tests.store.redis.test_subtraction import now_us
from tests.support.redis_servers import PROGRAMS, ClusterServers, SentinelServers
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

CARTS = 48
SETTLED_S = 5.0
PAUSE_S = 0.05
"""Between two adds to a cart: a line takes 999 pieces, and servers may need ten seconds to change."""


class Load:
    """Adds one piece after the other to carts of every partition, until told to stop."""

    def __init__(self, client: PipelinedClient, layout: Layout, copies: int = 0) -> None:
        """`copies`: how many replicas must have an add before it counts."""
        self._client = client
        self._layout = layout
        self._store = CartStore(client, layout)
        self.pieces: Counter[str] = Counter()
        self.failures: list[tuple[float, str]] = []
        self.stale_reads = 0
        self.copies = copies
        self._is_over = False
        self._tasks = [asyncio.create_task(self._write(f"user:load-{n}")) for n in range(CARTS)]

    async def stop(self) -> None:
        """Wait until each add that was begun is answered."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _write(self, cart_id: str) -> None:
        while not self._is_over:
            await self.add(cart_id, f"op-{self.pieces[cart_id]}")
            self.pieces[cart_id] += 1
            await self._read(cart_id)
            await asyncio.sleep(PAUSE_S)

    async def add(self, cart_id: str, op_id: str) -> None:
        """Add a piece, however often it takes."""
        while True:
            copies = self.copies  # before the change: it must not count by the copies of another server
            request = ChangeRequest(
                cart_id=cart_id,
                op_id=op_id,
                fingerprint="f",
                steps=(Add("sock", 1, 100, "EUR", Item("sock")),),
                first_seen_us=now_us(),
                absence=ABSENCE,
                minimal=True,
            )
            try:
                outcome = await self._store.change(request)
                assert isinstance(outcome, Applied | Replayed), outcome
                slot = self._layout.of_cart(cart_id).slot
                if copies == 0 or await self._is_copied(slot, copies):
                    return
            except StoreUnavailable as error:
                self.failures.append((time.monotonic(), repr(error)))
            except UnknownOutcome as error:
                self.failures.append((time.monotonic(), repr(error)))
            await asyncio.sleep(0.02)

    async def _is_copied(self, slot: int, copies: int) -> bool:
        try:
            return bool(await self._client.execute("WAIT", copies, 10, slot=slot) >= copies)
        except StoreBroken:
            return False  # the server has become a replica meanwhile, and may not be asked

    async def _read(self, cart_id: str) -> None:
        """What is shown as live has everything that was acknowledged."""
        try:
            cart = await self._store.read(cart_id)
        except StoreError:
            return
        if isinstance(cart, StoredCart) and cart.view().lines[0].quantity < self.pieces[cart_id]:
            self.stale_reads += 1

    async def end(self, what: str, began: float) -> None:
        """Go on for a while now that the servers have changed, since `began`; then stop, and check."""
        ended = time.monotonic() + SETTLED_S
        before = sum(self.pieces.values())
        await until(lambda: sum(self.pieces.values()) > before + 10 * CARTS, "load goes on")
        await self.stop()
        await self._check(what, began, ended)

    async def _check(self, what: str, began: float, ended: float) -> None:
        """Nothing lost, nothing doubled, nothing stale, and failures only while the servers changed."""
        times = [at for at, _ in self.failures]
        added, window = sum(self.pieces.values()), max(times, default=0.0) - min(times, default=0.0)
        sys.stdout.write(f"{what}: {added} adds, {len(times)} failed within {window:.2f} s\n")
        for error, count in Counter(error for _, error in self.failures).most_common():
            sys.stdout.write(f"  {count} {error}\n")
        for cart_id, pieces in self.pieces.items():
            cart = await self._store.read(cart_id)
            assert isinstance(cart, StoredCart), (cart_id, cart)
            assert cart.view().lines[0].quantity == pieces, cart_id
        assert self.stale_reads == 0
        assert all(began <= at <= ended for at in times), self.failures


async def prepared(client: PipelinedClient) -> Layout:
    """All partitions are ready."""
    fixture = StoreFixture(client, Layout(PARTITIONS))
    await fixture.empty()
    return fixture.layout


@pytest.fixture(params=PROGRAMS)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClusterServers]:
    """A cluster that notices soon, to be harmed."""
    with ClusterServers(tmp_path, node_timeout_ms=2000, program=request.param) as servers:
        yield servers


@pytest.fixture(params=PROGRAMS)
def sentinels(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SentinelServers]:
    """Sentinels that notice soon, to be harmed."""
    with SentinelServers(tmp_path, down_after_ms=2000, program=request.param) as servers:
        yield servers


def settings_of(url: str) -> RedisSettings:
    """As a gateway's."""
    return RedisSettings(redis_url=url, redis_timeout_s=2, redis_connect_timeout_s=1)


async def test_a_primary_of_a_cluster_is_killed(cluster: ClusterServers) -> None:
    async with PipelinedClient(settings_of(cluster.url), patience_s=0.5) as client:
        layout = await prepared(client)
        load = Load(client, layout, copies=1)
        await until(lambda: len(load.pieces) == CARTS, "load on all carts")
        victim = cluster.owner_of(layout.slot(0))
        began = time.monotonic()
        victim.kill()
        load.copies = 0  # its successor has no replica
        await until(lambda: cluster.owner_of(layout.slot(0)) is not victim, "a successor")
        await until(lambda: client.connected, "connected everywhere")
        await load.end("a primary killed", began)


async def test_all_servers_of_a_cluster_are_not_asked_while_one_is_away(cluster: ClusterServers) -> None:
    async with PipelinedClient(settings_of(cluster.url), patience_s=0.5) as client:
        assert await client.of_all(lambda node: node.execute("DBSIZE")) == [0, 0, 0]
        victim = cluster.owner_of(0)
        cluster.replica_of(victim).kill()
        victim.kill()
        assert len(await client.ask_each("PING")) == 2
        with pytest.raises(StoreError):
            await client.of_all(lambda node: node.execute("PING"))


async def test_a_failover_of_a_cluster_by_hand(cluster: ClusterServers) -> None:
    async with PipelinedClient(settings_of(cluster.url), patience_s=0.5) as client:
        layout = await prepared(client)
        load = Load(client, layout)
        await until(lambda: len(load.pieces) == CARTS, "load on all carts")
        old = cluster.owner_of(layout.slot(0))
        began = time.monotonic()
        await asyncio.to_thread(cluster.have_taken_over, cluster.replica_of(old))
        await until(lambda: cluster.owner_of(layout.slot(0)) is not old, "a successor")
        await until(lambda: client.connected, "connected everywhere")
        await load.end("a failover by hand", began)


async def test_a_slot_moves_key_by_key(cluster: ClusterServers) -> None:
    async with PipelinedClient(settings_of(cluster.url), patience_s=0.5) as client:
        layout = await prepared(client)
        load = Load(client, layout)
        await until(lambda: len(load.pieces) == CARTS, "load on all carts")
        slot = layout.slot(0)
        old = cluster.owner_of(slot)
        target = next(each for each in cluster.servers[:3] if each is not old)
        began = time.monotonic()
        await asyncio.to_thread(cluster.move, slot, target, lambda: time.sleep(0.3))
        assert cluster.owner_of(slot) is target
        await load.end("a slot moved", began)


async def test_a_subscriber_follows_a_slot_that_moves(cluster: ClusterServers) -> None:
    async with PipelinedClient(settings_of(cluster.url)) as client:
        layout = await prepared(client)
        heard = Heard()
        subscriber = ChangeSubscriber(settings_of(cluster.url), layout, name=NAME, patience_s=60)
        subscriber.start(heard)
        for partition in range(PARTITIONS):
            subscriber.follow(partition)
        await until(lambda: set(heard.partitions) == set(range(PARTITIONS)), "all are heard")
        slot = layout.slot(0)
        old = cluster.owner_of(slot)
        target = next(each for each in cluster.servers[:3] if each is not old)
        heard.partitions.clear()
        await asyncio.to_thread(cluster.move, slot, target)
        await until(lambda: 0 in heard.partitions, "heard again, elsewhere")
        load = Load(client, layout)
        cart_id = cart_of(StoreFixture(client, layout), 0, "moved")
        await load.add(cart_id, "op")
        await until(lambda: cart_id in dict(heard.changes), "the change")
        await load.stop()
        await subscriber.close()


async def test_sentinels_choose_another_master(sentinels: SentinelServers) -> None:
    async with PipelinedClient(settings_of(sentinels.url), patience_s=0.5) as client:
        layout = await prepared(client)
        load = Load(client, layout, copies=1)
        await until(lambda: len(load.pieces) == CARTS, "load on all carts")
        began = time.monotonic()
        sentinels.primary.kill()
        load.copies = 0  # its successor has no replica
        await until(lambda: sentinels.master_port() == sentinels.replica.port, "another master")
        await until(lambda: client.connected, "connected")
        await load.end("the master killed", began)


async def test_a_master_that_was_deposed_is_left_although_it_answers(sentinels: SentinelServers) -> None:
    async with PipelinedClient(settings_of(sentinels.url), patience_s=0.5) as client:
        layout = await prepared(client)
        load = Load(client, layout, copies=1)
        await until(lambda: len(load.pieces) == CARTS, "load on all carts")
        began = time.monotonic()
        sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", "carts")

        async def has_left() -> bool:
            await asyncio.gather(client.ask_role(), return_exceptions=True)
            return client.nodes[0].address.endswith(str(sentinels.replica.port)) and client.connected

        await until(has_left, "at the new master")
        await load.end("the master deposed", began)
