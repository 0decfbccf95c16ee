"""The whole product on servers of its own, with expiry in the test's hands."""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
import redis.asyncio
from aiokafka.structs import ConsumerRecord

from carts.operations import Add, Change, Item
from devstack.embedded import EmbeddedStack
from devstack.free_ports import free_ports
from devstack.settings import StackSettings
from devstack.spec import RestartPolicy
from jobs.expiry import ExpiryJob
from jobs.settings import JobsSettings
from jobs.trimming import Trimming
from runtime.clock import clock_us
from runtime.owners import OrdersOwner, ProductsOwner
from runtime.settings import KafkaSettings, load
from store.redis import Layout
from tests.support.http import http_client
from tests.support.restored import is_restored
from tests.support.topics import floored_partitions, records_of
from tests.support.waiting import until
from topics.partitioner import partition_of
from topics.publishing import Publisher
from topics.registry import DEAD_LETTERS, PARTITIONS

MUTATIONS = Path(__file__).parents[1] / "faults" / "mutations"
MUTATION_VARIABLES = ("CARTSTREAM_TEST_MUTATION", "PYTHONPATH")
DAY_US = 86_400 * 1_000_000
COMPONENTS = (
    *("redis", "kafka", "postgres", "topics", "migrate"),
    *("gateway", "compaction", "sink-postgres", "sink-redis"),
)


class Row(NamedTuple):
    """What Postgres says of a cart."""

    v: int
    n: int
    status: str


class SystemUnderTest:
    """A running product, and everything a test wants to see of a cart in it."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self.stack = stack
        self.urls = stack.urls
        self.kafka = KafkaSettings(kafka_bootstrap=stack.urls.kafka_bootstrap)
        self.settings = JobsSettings(
            kafka_bootstrap=stack.urls.kafka_bootstrap,
            redis_url=stack.urls.redis,
            postgres_url=stack.urls.postgres,
        )

    async def age(self, days_ago: float = 0) -> None:
        """One round of the job, as of some days ago."""
        expiry = ExpiryJob(self.settings, clock=lambda: clock_us() - int(days_ago * DAY_US))
        async with (
            await self.database() as connection,
            Publisher(self.kafka) as publisher,
            Trimming(self.settings) as trimming,
        ):
            await expiry.round(connection, publisher, trimming)

    async def old_cart(self, days: float, kind: str = "user") -> str:
        """A cart with one line whose only change is this old, known everywhere."""
        # Below the purge floor of its partition it would be refused, as a purged cart that comes back.
        floored = await floored_partitions(self.kafka)
        ids = (f"{kind}:{uuid4().hex}" for _ in count())
        cart_id = next(each for each in ids if partition_of(each.encode(), PARTITIONS) not in floored)
        await self.publish(self.change(cart_id, days))
        await until(lambda: self.row(cart_id), "row")
        return cart_id

    def change(self, cart_id: str, days: float, product: str = "old") -> Change:
        """An add of that age."""
        v = 2 * (clock_us() - int(days * DAY_US))
        step = Add(product, 2, 500, "EUR", Item(product))
        return Change(
            cart_id=cart_id, version=v, op_id=f"op-{uuid4().hex}", delta=(step,), previous_version=0, born=v
        )

    async def publish(self, *changes: Change) -> None:
        """Into `cart-changed`, as any process that acts on a cart does."""
        async with Publisher(self.kafka) as publisher:
            await publisher.publish_changes(changes, PARTITIONS, source="/cartstream/tests")

    async def read(self, cart_id: str) -> dict[str, Any]:
        """What the gateway shows."""
        async with http_client(self.urls.gateway) as client:
            answer = await client.get(f"/v1/carts/{cart_id}")
        assert answer.status_code == 200, answer.text
        cart: dict[str, Any] = answer.json()
        return cart

    async def lines(self, cart_id: str) -> dict[str, int]:
        """Pieces by line, as the gateway shows them."""
        return {line["line_id"]: line["quantity"] for line in (await self.read(cart_id))["lines"]}

    async def add(self, cart_id: str, product: str = "new", key: str | None = None) -> dict[str, Any]:
        """A piece more, acknowledged by Kafka; the cart."""
        body = {"product_id": product, "quantity": 1, "unit_price": 300, "currency": "EUR"}
        headers = {"idempotency-key": key or f"{uuid4().hex}-"}
        async with http_client(self.urls.gateway) as client:

            async def added() -> dict[str, Any] | None:
                answer = await client.post(f"/v1/carts/{cart_id}/items", json=body, headers=headers)
                assert answer.status_code == 200, answer.text
                # A slow Kafka is not waited for: whoever asks again with the key is told when it has it.
                is_there = answer.headers["preference-applied"].startswith("durability=kafka")
                cart: dict[str, Any] = answer.json()
                return cart if is_there else None

            found: dict[str, Any] | None = await until(added, f"{product} in Kafka")
        assert found is not None
        return found

    async def database(self) -> psycopg.AsyncConnection[Any]:
        """A connection like a job's."""
        return await psycopg.AsyncConnection.connect(self.urls.postgres, autocommit=True)

    async def row(self, cart_id: str) -> Row | None:
        """The cart's row."""
        async with await self.database() as connection:
            cursor = await connection.execute("SELECT v, n, status FROM carts WHERE cart_id = %s", (cart_id,))
            found = await cursor.fetchone()
        return Row._make(found) if found else None

    async def has_status(self, cart_id: str, status: str) -> Row:
        """The row, once it has this status."""

        async def there() -> Row | None:
            row = await self.row(cart_id)
            return row if row is not None and row.status == status else None

        found = await until(there, f"{cart_id} {status}")
        assert found is not None
        return found

    async def records(self, topic: str, cart_id: str) -> list[ConsumerRecord]:
        """All records of the cart's partition, or of all partitions of the dead letters."""
        own = partition_of(cart_id.encode(), PARTITIONS)
        partitions = range(PARTITIONS) if topic == DEAD_LETTERS.name else [own]
        return await records_of(self.kafka, topic, partitions)

    async def redis_is_complete(self) -> bool:
        """Whether every partition of Redis is restored: no write is refused for it."""
        return await is_restored(self.urls.redis)

    async def in_redis(self, cart_id: str) -> bool:
        """Whether anything of the cart stands in Redis."""
        keys = Layout(PARTITIONS).of_cart(cart_id)
        async with redis.asyncio.Redis.from_url(self.urls.redis) as client:
            return bool(await client.exists(keys.cart, keys.ops, keys.win))

    def mutate(self, name: str, how: str | None) -> None:
        """Start a component again with one of its functions replaced, or whole."""
        component = self.stack.component(name)._component  # noqa: SLF001  nobody else breaks it so
        env = {key: value for key, value in component.spec.env.items() if key not in MUTATION_VARIABLES}
        if how is not None:
            path = os.pathsep.join((str(MUTATIONS), str(Path.cwd())))
            env |= dict(zip(MUTATION_VARIABLES, (how, path), strict=True))
        component.spec = replace(component.spec, env=env)
        self.stack.restart(name)

    def log_of(self, component: str) -> str:
        """What a process has said."""
        return (self.stack.settings.data_dir / "logs" / f"{component}.log").read_text()

    async def dead_letters(self, cart_id: str) -> list[ConsumerRecord]:
        """Those of the cart."""
        records = await self.records(DEAD_LETTERS.name, cart_id)
        return [record for record in records if record.key == cart_id.encode()]


@pytest.fixture(scope="session")
def product_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """Servers, gateway, compaction and both sinks; no jobs."""
    folder: Path = tmp_path_factory.mktemp("jobs")
    os.environ["CARTSTREAM_ANTI_ENTROPY_AFTER_S"] = "1"
    settings = load(StackSettings).model_copy(
        update={"products_owner": ProductsOwner.CALLER, "orders_owner": OrdersOwner.EXTERNAL}
    )
    embedded = EmbeddedStack(folder, settings.with_ports(*free_ports(5)), COMPONENTS, RestartPolicy.ALWAYS)
    try:
        with embedded:
            yield embedded
    finally:
        del os.environ["CARTSTREAM_ANTI_ENTROPY_AFTER_S"]


@pytest.fixture
async def system(product_stack: EmbeddedStack) -> SystemUnderTest:
    """The running product, with everything back in Redis that an earlier test has wiped."""
    found = SystemUnderTest(product_stack)
    await until(found.redis_is_complete, "Redis restored")
    return found
