"""Each alert fires in its trouble and not without it, and the commands of its runbook end the trouble.

The rules look at seconds instead of minutes. `systemctl restart` restarts a component of the embedded stack.
"""

import asyncio
from contextlib import closing
from typing import Final, LiteralString
from uuid import uuid4

import psycopg
import pytest
import redis
from aiokafka import AIOKafkaProducer

from carts.fold import fold
from carts.limits import TIMING
from carts.operations import Add, Change, Item
from runtime.clock import clock_us
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from tests.alerts.runbooks import OnCall
from tests.alerts.scene import Scene
from tests.alerts.shoppers import add, order
from tests.support.copies import put_copies
from tests.support.memory import RESERVE, used_memory
from tests.support.processes import INTERNAL, ROOT, GatewayProcess
from tests.support.waiting import until_blocking
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, PARTITIONS

pytestmark = [pytest.mark.alerts, pytest.mark.timeout(900)]

_SKEW: Final = {"PYTHONPATH": f"{ROOT / 'tests/gateway/skew'}:{ROOT}", "CARTSTREAM_TEST_SKEW_S": "-4"}


def test_a_process_that_hangs(scene: Scene) -> None:
    scene.goes_through("CartstreamProcessDown", scene.stack.component("sink-redis").pause)


def test_redis_stopped(scene: Scene) -> None:
    scene.goes_through("CartstreamRequestsFail", scene.stack.component("redis").stop)


def test_checkouts_that_wait_for_the_postgres_sink(scene: Scene) -> None:
    def trouble() -> None:
        scene.stack.component("sink-postgres").stop()
        with scene.client() as http:
            for _ in range(3):  # the first one makes the metric
                cart_id = f"user:{uuid4()}"
                assert add(http, cart_id).is_success
                assert order(http, cart_id).status_code == 503

    scene.goes_through("CartstreamCheckoutsSlow", trouble)


def test_kafka_frozen(scene: Scene) -> None:
    scene.goes_through("CartstreamKafkaUnavailable", scene.stack.component("kafka").pause)


def test_kafka_stopped(scene: Scene) -> None:
    scene.goes_through("CartstreamOutboxWaits", scene.stack.component("kafka").stop)


def test_compaction_stopped(scene: Scene) -> None:
    scene.goes_through("CartstreamChangesNotFolded", scene.stack.component("compaction").stop)


def test_a_change_lost_long_ago(scene: Scene) -> None:
    scene.goes_through("CartstreamChangesLost", lambda: asyncio.run(lose_a_change(scene)))


def test_postgres_stopped_under_the_sink(scene: Scene) -> None:
    scene.goes_through("CartstreamDeliveryBehind", scene.stack.component("postgres").stop)


def test_postgres_stopped_under_the_jobs(scene: Scene) -> None:
    scene.goes_through("CartstreamJobsNotDone", scene.stack.component("postgres").stop)


def test_redis_full(scene: Scene) -> None:
    scene.goes_through("CartstreamRedisFull", lambda: fill_redis(scene))


def test_redis_too_full_for_a_new_product(scene: Scene) -> None:
    def trouble() -> None:
        fill_redis(scene)
        scene.until_fires("CartstreamRedisFull")
        product = {"name": "A new cup", "unit_price": 900, "currency": "EUR"}
        with scene.client() as http:
            answer = http.put(f"/v1/products/new-{uuid4().hex}", json=product)
        assert answer.is_success, answer.text

    scene.goes_through("CartstreamProductsStandStill", trouble)


def test_an_order_while_the_postgres_sink_stands_still(scene: Scene) -> None:
    cart_id = delivered_cart(scene)

    def trouble() -> None:
        scene.stack.component("sink-postgres").stop()
        with scene.client() as http:
            answer = order(http, cart_id)
        assert answer.status_code == 201, answer.text

    scene.goes_through("CartstreamOrdersUnsettled", trouble)


def test_a_record_that_nobody_can_read(scene: Scene) -> None:
    scene.goes_through("CartstreamDeadLetters", lambda: asyncio.run(publish_nonsense(scene)))


def test_a_row_that_nobody_can_read_of_an_order_that_is_not_settled(scene: Scene) -> None:
    cart_id = delivered_cart(scene)

    def trouble() -> None:
        scene.stack.component("jobs").stop()
        with scene.client() as http:
            answer = order(http, cart_id)
        assert answer.status_code == 201, answer.text
        until_row(scene, cart_id, "lines = '[]'")
        break_row(scene, cart_id)
        scene.stack.restart("jobs")

    scene.goes_through("CartstreamRowsUnreadable", trouble)


def test_a_row_that_nobody_can_read_when_redis_was_lost(scene: Scene) -> None:
    cart_id = delivered_cart(scene)

    def trouble() -> None:
        break_row(scene, cart_id)
        with closing(redis.Redis.from_url(scene.stack.urls.redis)) as client:
            client.flushall()

    scene.goes_through("CartstreamRowsUnreadable", trouble)
    with scene.client() as http:
        answer = http.get(f"/v1/carts/{cart_id}")
    assert answer.status_code == 200, answer.text  # this alert ends by itself, too


def test_no_mail_server(scene: Scene) -> None:
    cart_id = delivered_cart(scene)

    def trouble() -> None:
        scene.stack.component("mailbox").stop()
        with scene.client() as http:
            answer = order(http, cart_id)
        assert answer.status_code == 201, answer.text

    scene.goes_through("CartstreamMailsLate", trouble)


def test_a_gateway_whose_clock_is_slow(scene: Scene) -> None:
    stack = scene.stack
    environment = {
        **stack.urls.environment(),
        **INTERNAL,
        **_SKEW,
        "CARTSTREAM_METRICS_TARGETS": str(stack.settings.data_dir / "run" / "targets"),
    }
    gateway = GatewayProcess(environment, scene.folder / uuid4().hex)
    try:
        # Somebody sets the clock: from then on the process has the right one, or there is another process.
        on_call = OnCall(scene.on_call.environment, {"chronyd": lambda: exits_with(gateway, 0)})
        scene.until_silent()
        gateway.start()
        scene.until_fires("CartstreamClockOff")
        on_call.follow("CartstreamClockOff")
        scene.until_silent()
    finally:
        gateway.kill()


def exits_with(gateway: GatewayProcess, code: int) -> None:
    """Stop it."""
    assert gateway.stop() == code


def delivered_cart(scene: Scene) -> str:
    """A cart with a cup in it, which Postgres has, too."""
    cart_id = f"user:{uuid4()}"
    with scene.client() as http:
        answer = add(http, cart_id)
        assert answer.is_success, answer.text
    until_row(scene, cart_id, "true")
    return cart_id


def until_row(scene: Scene, cart_id: str, condition: LiteralString) -> None:
    """Returns once the cart has a row for which the SQL condition holds."""
    with psycopg.connect(scene.stack.urls.postgres, autocommit=True) as connection:

        def has_row() -> bool:
            found = connection.execute(f"SELECT 1 FROM carts WHERE cart_id = %s AND {condition}", [cart_id])
            return found.fetchone() is not None

        until_blocking(has_row, f"the cart's row, {condition}")


def break_row(scene: Scene, cart_id: str) -> None:
    """Write a state into the cart's row that is none."""
    with psycopg.connect(scene.stack.urls.postgres, autocommit=True) as connection:
        connection.execute("UPDATE carts SET state = '{\"ops\": 1}' WHERE cart_id = %s", [cart_id])


def fill_redis(scene: Scene) -> None:
    """Only the reserve is left."""
    with closing(redis.Redis.from_url(scene.stack.urls.redis)) as client:
        # So much that buffers of connections do not matter.
        client.setrange("ballast", 8_000_000, b"x")
        client.config_set("maxmemory", int(used_memory(client) / RESERVE))


async def lose_a_change(scene: Scene) -> None:
    """A cart whose first operation only Redis has, from a time when it may have counted already."""
    cart_id, layout = f"user:{uuid4()}", Layout(PARTITIONS)
    v = 2 * (clock_us() - TIMING.window_us + TIMING.retry_horizon_us)
    step = Add("cup", 1, 990, "EUR", Item("espresso-cup"))
    state = fold(None, Change(cart_id=cart_id, version=v, op_id="old", delta=(step,), born=v)).state
    assert state is not None
    partition = layout.partition(cart_id)
    async with PipelinedClient(RedisSettings(redis_url=scene.stack.urls.redis)) as client:
        await put_copies(CartStore(client, layout), partition, [(cart_id, state)])
        await client.execute("ZADD", layout.of_partition(partition).pending_compaction, v, cart_id)


async def publish_nonsense(scene: Scene) -> None:
    """A record of `cart-changed` that is no JSON."""
    key = f"user:{uuid4()}".encode()
    async with AIOKafkaProducer(bootstrap_servers=scene.stack.urls.kafka_bootstrap) as producer:
        await producer.send_and_wait(
            CART_CHANGED.name, b"no JSON", key=key, partition=partition_of(key, PARTITIONS)
        )
