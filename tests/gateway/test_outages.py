"""Servers frozen, stopped and started again: honest answers meanwhile, everything delivered afterwards."""

import asyncio
import signal
from collections.abc import Callable, Iterator

import httpx
import pytest
import redis

from carts.limits import TIMING
from devstack.embedded import EmbeddedStack
from devstack.free_ports import free_ports
from devstack.settings import KAFKA, POSTGRES, REDIS
from tests.gateway.cart_client import PATIENT, CartClient, item
from tests.gateway.conftest import client_of
from tests.gateway.rows import born, insert
from tests.gateway.test_hydration import some_time_ago
from tests.support.http import http_client
from tests.support.outages import frozen, stopped
from tests.support.processes import GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.codec import decode_change
from topics.registry import PARTITIONS

pytestmark = pytest.mark.drill

StartGateway = Callable[..., GatewayProcess]


async def says_kafka(carts: CartClient, cart_id: str) -> bool:
    reply = await carts.add(cart_id, "probe")
    return bool(reply.headers.get("preference-applied") == "durability=kafka")


@pytest.fixture
def quick(start_gateway: StartGateway) -> GatewayProcess:
    """A gateway that does not wait long for Kafka."""
    return start_gateway(CARTSTREAM_PUBLISH_WAIT_S="0.3")


@pytest.fixture
def maxmemory(breakable: Urls) -> Iterator[int]:
    """Redis with a bound of memory, in bytes."""
    bound = 64 * 1024 * 1024
    with redis.Redis.from_url(breakable.redis) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", bound)
        yield bound
        client.config_set("maxmemory", before)


async def test_with_kafka_frozen_the_reply_says_redis_and_the_outbox_delivers(
    stack: EmbeddedStack, breakable: Urls, quick: GatewayProcess, cart_id: str
) -> None:
    async with client_of(quick, breakable) as carts:
        await until(lambda: says_kafka(carts, cart_id), "kafka connected")
        ends = await carts.topic.ends()
        with frozen(stack, KAFKA):
            for number in range(5):
                reply = await carts.add(cart_id, f"sku-{number}", idempotency_key=f"k-{number}")
                assert reply.status_code == 200, reply.text
                assert reply.headers["preference-applied"] == "durability=redis"
                assert "cart-receipt" not in reply.headers
            strict = await carts.add(cart_id, "sku-5", idempotency_key="k-5", prefer="handling=strict")
            assert (strict.status_code, strict.json()["type"]) == (503, "/problems/durability-not-reached")
            assert strict.headers["retry-after"]
            ready = await carts.http.get("/health/ready")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert ready.json()["checks"]["kafka"]["status"] == "degraded"
        await until(carts.outbox_is_empty, "outbox empty")
        keys = [decode_change(found.value).op_id for found in await carts.topic.since(ends)]
        assert {f"k-{number}" for number in range(6)} <= set(keys)
        retry = await carts.add(cart_id, "sku-5", idempotency_key="k-5", prefer="handling=strict")
        assert (retry.status_code, retry.headers["idempotency-replayed"]) == (200, "true")
        assert retry.headers["preference-applied"] == "durability=kafka, handling=strict"
        await until(lambda: says_kafka(carts, cart_id), "breaker closed")


async def test_what_a_killed_gateway_left_in_the_outbox_another_one_publishes(
    stack: EmbeddedStack, breakable: Urls, quick: GatewayProcess, start_gateway: StartGateway, cart_id: str
) -> None:
    async with client_of(quick, breakable) as carts:
        await until(lambda: says_kafka(carts, cart_id), "kafka connected")
        ends = await carts.topic.ends()
        with frozen(stack, KAFKA):
            assert (await carts.add(cart_id, idempotency_key="orphan")).status_code == 200
            quick.kill()
        start_gateway()
        await until(carts.outbox_is_empty, "outbox empty")
        published = [decode_change(found.value).op_id for found in await carts.topic.since(ends)]
        assert "orphan" in published


async def test_nothing_overtakes_an_entry_older_than_the_publish_deadline(
    stack: EmbeddedStack, breakable: Urls, quick: GatewayProcess, cart_id: str
) -> None:
    async with client_of(quick, breakable) as carts:
        await until(lambda: says_kafka(carts, cart_id), "kafka connected")
        partition = carts.layout.partition(cart_id)

        async def is_old() -> bool:
            depths = {depth.partition: depth for depth in await carts.store.outbox_depths()}
            return depths[partition].oldest_us > TIMING.publish_deadline_us

        ends = await carts.topic.ends()
        with frozen(stack, KAFKA):
            for number in range(20):
                await carts.add(cart_id, f"old-{number}", idempotency_key=f"old-{number}")
            await until(is_old, "oldest entry older than the deadline")
        replies = [
            await carts.add(cart_id, f"new-{number}", idempotency_key=f"new-{number}") for number in range(5)
        ]
        assert {reply.status_code for reply in replies} == {200}
        await until(carts.outbox_is_empty, "outbox empty")
        seen = dict.fromkeys(decode_change(found.value).op_id for found in await carts.topic.since(ends))
        order = [op_id for op_id in seen if op_id.startswith(("old", "new"))]
        assert order[:20] == [f"old-{number}" for number in range(20)]
        # Among themselves the new ones may change places: they are young, and folding does not mind.
        assert set(order[20:]) == {f"new-{number}" for number in range(5)}


@pytest.mark.parametrize(
    "bound", [{"CARTSTREAM_OUTBOX_MAX_BYTES": "4000"}, {"CARTSTREAM_OUTBOX_MAX_SHARE": "0.001"}]
)
async def test_with_the_outbox_full_writes_are_refused_and_reads_go_on(
    stack: EmbeddedStack,
    breakable: Urls,
    start_gateway: StartGateway,
    cart_id: str,
    bound: dict[str, str],
    maxmemory: int,
) -> None:
    assert maxmemory * 0.001 / PARTITIONS < 4500
    gateway = start_gateway(CARTSTREAM_PUBLISH_WAIT_S="0.3", **bound)
    async with client_of(gateway, breakable) as carts:
        await until(lambda: says_kafka(carts, cart_id), "kafka connected")
        await until(carts.outbox_is_empty, "outbox empty")
        with frozen(stack, KAFKA):
            kept = 0
            while (reply := await carts.add(cart_id)).status_code == 200:
                kept += 1
            assert (reply.status_code, reply.json()["type"]) == (503, "/problems/outbox-full")
            assert reply.headers["retry-after"]
            assert kept > 2
            assert (await carts.quantities(cart_id))["sku-1"] == kept
        await until(carts.outbox_is_empty, "outbox empty")
        assert (await carts.add(cart_id)).status_code == 200


async def test_with_redis_stopped_writes_say_so_and_reads_come_from_postgres(
    stack: EmbeddedStack, breakable: Urls, quick: GatewayProcess, cart_id: str
) -> None:
    async with client_of(quick, breakable) as carts:
        state = born(cart_id, some_time_ago())
        await insert(breakable.postgres, cart_id, state)
        with stopped(stack, REDIS):
            write = await carts.add(cart_id)
            assert (write.status_code, write.json()["type"]) == (503, "/problems/store-unavailable")
            assert write.headers["retry-after"]
            read = await carts.http.get(f"/v1/carts/{cart_id}")
            assert (read.status_code, read.headers["cart-freshness"]) == (200, "stale")
            assert read.json()["version"] == state.version.tag()
            unknown = await carts.http.get(f"/v1/carts/{cart_id}-unknown")
            assert unknown.status_code == 503
            ready = await carts.http.get("/health/ready")
            assert (ready.status_code, ready.json()["readiness"]) == (503, "not_ready")
            assert (ready.json()["type"], ready.headers["retry-after"]) == ("/problems/not-ready", "1")
            assert (await carts.http.get("/health/live")).status_code == 200

        async def is_ready() -> bool:
            return (await carts.http.get("/health/ready")).status_code == 200

        await until(is_ready, "gateway ready again")


async def test_with_redis_frozen_requests_fail_fast_once_that_is_known(
    stack: EmbeddedStack, breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    # The first add must come before the gateway's own look at Redis has waited for so long.
    gateway = start_gateway(
        CARTSTREAM_REDIS_PATIENCE_S="0",
        CARTSTREAM_REDIS_TIMEOUT_S="10",
        CARTSTREAM_REQUEST_DEADLINE_S="60",
    )
    async with client_of(gateway, breakable) as carts:
        await insert(breakable.postgres, cart_id, born(cart_id, some_time_ago()))
        assert (await carts.add(f"{cart_id}-2")).status_code == 200
        with frozen(stack, REDIS):
            # Nobody knows yet: this one waits for a reply, which may still come.
            first = await carts.add(f"{cart_id}-2", idempotency_key="unsure")
            assert (first.status_code, first.json()["type"]) == (503, "/problems/store-unavailable")
            assert "may or may not" in first.json()["detail"]
            for _ in range(200):
                write = await carts.add(cart_id)
                assert (write.status_code, write.json()["type"]) == (503, "/problems/store-unavailable")
                assert "Nothing was changed" in write.json()["detail"]
                read = await carts.http.get(f"/v1/carts/{cart_id}")
                assert (read.status_code, read.headers["cart-freshness"]) == (200, "stale")

        async def unsure_is_answered() -> bool:
            return (await carts.add(f"{cart_id}-2", idempotency_key="unsure")).status_code == 200

        await until(unsure_is_answered, "Redis answers again")
        assert await carts.quantities(f"{cart_id}-2") == {"sku-1": 2}


async def test_a_gateway_started_without_redis_serves_once_it_is_there(
    stack: EmbeddedStack, breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    with stopped(stack, REDIS):
        gateway = start_gateway()
        async with http_client(gateway.url) as http:
            assert (await http.post(f"/v1/carts/{cart_id}/items", json=item())).status_code == 503
            assert (await http.get("/health/ready")).status_code == 503
    async with client_of(gateway, breakable) as carts:

        async def is_sold() -> bool:
            return (await carts.add(cart_id)).status_code == 200

        await until(is_sold, "connected")


async def test_with_postgres_stopped_only_carts_that_redis_lacks_notice(
    stack: EmbeddedStack, breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    async with client_of(start_gateway(**PATIENT), breakable) as carts:
        await until(lambda: says_kafka(carts, f"{cart_id}-probe"), "kafka connected")
        assert (await carts.add(cart_id)).status_code == 200
        with stopped(stack, POSTGRES):
            assert (await carts.add(cart_id)).status_code == 200
            assert await carts.quantities(cart_id) == {"sku-1": 2}
            wished = await carts.add(cart_id, prefer="durability=postgres")
            assert wished.headers["preference-applied"] == "durability=kafka"
            strict = await carts.add(cart_id, prefer="durability=postgres; handling=strict")
            assert (strict.status_code, strict.json()["type"]) == (503, "/problems/durability-not-reached")
            assert strict.headers["preference-applied"] == "durability=kafka, handling=strict"
            for unknown in (
                await carts.add(f"{cart_id}-new"),
                await carts.http.get(f"/v1/carts/{cart_id}-new"),
            ):
                assert (unknown.status_code, unknown.json()["type"]) == (
                    503,
                    "/problems/database-unavailable",
                )
                assert unknown.headers["retry-after"]
            ready = await carts.http.get("/health/ready")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")

        for number in range(8):
            served = await carts.add(f"{cart_id}-new-{number}")
            assert served.status_code == 200, served.text


async def test_what_is_read_while_redis_is_a_replica_says_that_it_is_stale(
    breakable: Urls, quick: GatewayProcess, cart_id: str
) -> None:
    async with client_of(quick, breakable) as carts:
        server = redis.Redis.from_url(breakable.redis)
        await insert(breakable.postgres, cart_id, born(cart_id, some_time_ago()))
        await carts.add(cart_id)

        async def reads_as(freshness: str | None) -> bool:
            read = await carts.http.get(f"/v1/carts/{cart_id}")
            return read.status_code == 200 and read.headers.get("cart-freshness") == freshness

        server.replicaof("127.0.0.1", free_ports(1)[0])
        try:
            await until(lambda: reads_as("stale"), "reads are marked")
            assert (await carts.http.get("/health/ready")).status_code == 503
            assert (await carts.add(cart_id)).status_code == 503
        finally:
            server.replicaof("NO", "ONE")
        await until(lambda: reads_as(None), "reads are current")
        assert (await carts.add(cart_id)).status_code == 200


async def test_a_gateway_started_without_kafka_serves_and_delivers_later(
    stack: EmbeddedStack, breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    with stopped(stack, KAFKA):
        gateway = start_gateway()
        async with client_of(gateway, breakable) as carts:
            reply = await carts.add(cart_id)
            assert (reply.status_code, reply.headers["preference-applied"]) == (200, "durability=redis")
            assert await carts.outbox_entries() == 1
    async with client_of(gateway, breakable) as carts:
        await until(lambda: says_kafka(carts, cart_id), "kafka connected")


async def test_sigterm_under_load_fails_no_request_and_leaves_no_outbox(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    # A client slower than the drain may find its idle connection closed just as it sends (RFC 9112, 9.3).
    gateway = start_gateway(**PATIENT, CARTSTREAM_DRAIN_S="5")
    async with client_of(gateway, breakable) as carts:
        answered, closing = 0, asyncio.Event()

        async def client(number: int) -> None:
            nonlocal answered
            async with http_client(gateway.url) as http:
                while not closing.is_set():
                    reply = await http.post(
                        f"/v1/carts/{cart_id}-{number}/items",
                        json={"product_id": "p", "quantity": 1, "unit_price": 1, "currency": "EUR"},
                    )
                    assert reply.status_code == 200, reply.text
                    answered += 1
                    if reply.headers["connection"] == "close":
                        # What a load balancer does once the gateway is not ready any more.
                        closing.set()

        async def busy() -> bool:
            return answered > 50

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(client(number))
            await until(busy, "50 requests answered")
            gateway.send(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait) == 0
        assert await carts.outbox_is_empty()
        shown = 0
        for number in range(8):
            found = await carts.store.read(f"{cart_id}-{number}")
            shown += found.view().lines[0].quantity  # type: ignore[union-attr]
        assert shown == answered


async def test_a_gateway_frozen_past_the_publish_deadline_loses_and_doubles_nothing(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    victim = start_gateway()
    async with client_of(victim, breakable) as carts:
        ends = await carts.topic.ends()
        done: list[str] = []
        stop = asyncio.Event()

        async def added(cart: str, key: str) -> bool:
            try:
                reply = await carts.add(cart, idempotency_key=key)
            except httpx.TransportError:
                return False  # outcome unknown: the same key, once more
            assert reply.status_code in {200, 503}, reply.text
            return reply.status_code == 200

        async def client(number: int) -> None:
            while not stop.is_set():
                key = f"{number}-{len(done)}-{cart_id[-6:]}"
                while not await added(f"{cart_id}-{number % 2}", key):
                    pass
                done.append(key)

        async def went_on(count: int) -> bool:
            return len(done) > count

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(client(number))
            await until(lambda: went_on(50), "50 adds")
            victim.send(signal.SIGSTOP)
            frozen_at = asyncio.get_running_loop().time()
            # Another gateway sweeps what the frozen one had put into Redis and not yet published.
            start_gateway()

            async def is_late() -> bool:
                passed = asyncio.get_running_loop().time() - frozen_at
                return passed * 1_000_000 > TIMING.publish_deadline_us + 1_000_000

            await until(is_late, "the publish deadline passed")
            await until(carts.outbox_is_empty, "outbox swept")
            victim.send(signal.SIGCONT)
            count = len(done)
            await until(lambda: went_on(count + 50), "50 more adds")
            stop.set()
        assert len(set(done)) == len(done)
        shown = [(await carts.quantities(f"{cart_id}-{number}"))["sku-1"] for number in range(2)]
        assert sum(shown) == len(done)
        await until(carts.outbox_is_empty, "outbox empty")
        published = {decode_change(found.value).op_id for found in await carts.topic.since(ends)}
        assert set(done) <= published
