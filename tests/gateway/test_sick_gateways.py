"""One gateway is sick: it has no Kafka, or a wrong clock. The others go on, and publish what it accepts."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest

from carts.limits import TIMING
from carts.operations import Add, Item
from devstack.free_ports import free_ports
from gateway.metrics import Metrics
from gateway.outbox.records import ChangeRecord
from gateway.outbox.sweeper import Sweeper
from store.redis import Applied, ChangeRequest
from tests.gateway.cart_client import CartClient
from tests.gateway.conftest import client_of
from tests.support.absent_carts import absence_of
from tests.support.http import http_client
from tests.support.processes import ROOT, GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.codec import decode_change

StartGateway = Callable[..., GatewayProcess]
SKEW = {"PYTHONPATH": f"{ROOT / 'tests/gateway/skew'}{os.pathsep}{ROOT}", "CARTSTREAM_TEST_SKEW_S": "-30"}


async def left_in_the_outbox(carts: CartClient, cart_id: str, op_id: str) -> int:
    """A change by a gateway that dies right after its script; the partition."""
    applied = await carts.store.change(
        ChangeRequest(
            cart_id=cart_id,
            op_id=op_id,
            fingerprint="",
            steps=(Add("p", 1, 100, "EUR", Item("p")),),
            first_seen_us=time.time_ns() // 1000,
            absence=await absence_of(carts.store, cart_id),
        )
    )
    assert isinstance(applied, Applied)
    return applied.partition


async def acknowledged(carts: CartClient, cart_id: str) -> bool:
    reply = await carts.add(cart_id)
    return bool(reply.headers.get("preference-applied") == "durability=kafka")


@pytest.mark.drill
async def test_a_gateway_without_kafka_keeps_no_other_from_publishing(
    breakable: Urls, start_gateway: StartGateway
) -> None:
    (nobody,) = free_ports(1)
    sick = start_gateway(CARTSTREAM_KAFKA_BOOTSTRAP=f"127.0.0.1:{nobody}")
    cart_ids = [f"user:sick-{time.time_ns()}-{number}" for number in range(12)]
    async with client_of(sick, breakable) as carts:
        ends = await carts.topic.ends()
        for number, cart_id in enumerate(cart_ids):
            reply = await carts.add(cart_id, idempotency_key=f"sick-{number}")
            assert (reply.status_code, reply.headers["preference-applied"]) == (200, "durability=redis")
        ready = await carts.http.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["kafka"]["status"]) == (200, "degraded")

        async def backlog_holds_changes_back() -> bool:
            return max(depth.oldest_us for depth in await carts.store.outbox_depths()) > (
                TIMING.publish_deadline_us
            )

        await until(backlog_holds_changes_back, "an entry older than the deadline")
        healthy = start_gateway()
        async with http_client(healthy.url) as http:
            others = CartClient(http, carts.store, carts.layout, carts.topic, breakable)
            for round_number in range(3):
                await until(others.outbox_is_empty, f"outbox empty in round {round_number}")
                for cart_id in cart_ids:
                    # In the same partitions as what only the healthy gateway can publish.
                    assert (await carts.add(cart_id)).status_code == 200
                    await until(partial(acknowledged, others, cart_id), "acknowledged by Kafka")
            await until(others.outbox_is_empty, "outbox empty")
        published = {decode_change(found.value).op_id for found in await carts.topic.since(ends)}
        assert {f"sick-{number}" for number in range(len(cart_ids))} <= published


async def test_a_gateway_whose_clock_is_wrong_is_not_ready_and_publishes_all_the_same(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    skewed = start_gateway(**SKEW)
    async with client_of(skewed, breakable) as carts:
        ready = await carts.http.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["redis"]["status"]) == (503, "failed")
        ends = await carts.topic.ends()
        await left_in_the_outbox(carts, cart_id, "orphan")
        await until(carts.outbox_is_empty, "outbox empty")
        assert await carts.operations_since(ends) == {"orphan"}


class ScriptedPublisher:
    """Kafka acknowledges or refuses, as the test says."""

    def __init__(self) -> None:
        self.connected = True
        self.takes = False
        self.tries = 0

    async def republish(self, _partition: int, records: Sequence[ChangeRecord]) -> list[int | None]:
        """Offsets, or none of them."""
        self.tries += 1
        return [number if self.takes else None for number in range(len(records))]


class Scene:
    """A sweeper on a real Redis."""

    def __init__(self, carts: CartClient, publisher: ScriptedPublisher) -> None:
        self.carts = carts
        self.publisher = publisher
        self.sweeper = Sweeper(
            carts.store,
            publisher,  # type: ignore[arg-type]
            Metrics(),
            owner="sweeper",
            interval_s=0.02,
            age_s=0.0,
        )

    async def is_free(self, partition: int) -> bool:
        """Whether another sweeper gets the lease; it gives it back."""
        if not await self.carts.store.acquire_sweeper(partition, "other", 60_000):
            return False
        return await self.carts.store.release_sweeper(partition, "other")


@pytest.fixture
async def scene(breakable: Urls, tmp_path: Path) -> AsyncIterator[Scene]:
    """The sweeper sweeps; no gateway runs."""
    async with client_of(GatewayProcess({}, tmp_path), breakable) as carts:
        made = Scene(carts, ScriptedPublisher())
        yield made
        await made.sweeper.stop()


async def test_what_kafka_refuses_costs_the_lease(scene: Scene, cart_id: str) -> None:
    partition = await left_in_the_outbox(scene.carts, cart_id, "op")
    scene.sweeper.start()
    await until(lambda: scene.publisher.tries > 1, "tried again")
    await until(lambda: scene.is_free(partition), "the lease is free")


async def test_a_producer_that_stops_working_costs_the_leases(scene: Scene, cart_id: str) -> None:
    partition = await left_in_the_outbox(scene.carts, cart_id, "op")
    scene.publisher.takes = True
    scene.sweeper.start()
    await until(lambda: scene.publisher.tries > 1, "swept")
    assert not await scene.is_free(partition)
    scene.publisher.connected = False
    await until(lambda: scene.is_free(partition), "the lease is free")
    tries = scene.publisher.tries
    scene.publisher.connected = True
    await until(lambda: scene.publisher.tries > tries, "swept again")


async def test_a_sweeper_that_stops_leaves_its_leases_to_the_next(scene: Scene, cart_id: str) -> None:
    partition = await left_in_the_outbox(scene.carts, cart_id, "op")
    scene.publisher.takes = True
    scene.sweeper.start()
    await until(lambda: scene.publisher.tries > 1, "swept")
    await scene.sweeper.stop()
    assert await scene.is_free(partition)


async def test_who_waits_for_an_operation_is_told_of_no_other_that_has_its_id_after_a_rollback(
    scene: Scene, cart_id: str
) -> None:
    partition = await left_in_the_outbox(scene.carts, cart_id, "op")
    (there,) = [entry for entry in await scene.carts.store.outbox_read(partition) if entry.cart_id == cart_id]
    gone = msgspec.structs.replace(there, op_id="gone")
    scene.publisher.takes = True
    waits = asyncio.create_task(scene.sweeper.wait(partition, gone, 0.5))
    others = [asyncio.create_task(scene.sweeper.wait(partition, there, limit_s)) for limit_s in (0.0, 60.0)]
    await asyncio.wait(others[:1])
    scene.sweeper.start()
    late, told, elsewhere = await asyncio.gather(*others, waits)
    assert (late, elsewhere) == (None, None)
    assert told is not None
