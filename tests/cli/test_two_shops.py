"""Two shops on one Kafka, one Redis and one Postgres, told apart by prefix and schema."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from aiokafka.admin import AIOKafkaAdminClient
from aiosmtpd.controller import Controller

from devstack.settings import KAFKA, POSTGRES, REDIS
from runtime.settings import KafkaSettings
from store.postgres.migrate import migrate
from store.postgres.session import Address
from tests.faults.catalogue import offer
from tests.mail.smtp_server import HOST, SmtpServer
from tests.support.databases import empty_database, with_parameters
from tests.support.http import http_client
from tests.support.processes import INTERNAL, ROOT, AgentProcess, GatewayProcess, Process
from tests.support.servers import Servers
from tests.support.topics import records_of
from tests.support.waiting import until
from topics.partitioner import partition_of
from topics.registry import CARTS, ORDERS, PARTITIONS
from topics.strimzi import bare

pytestmark = pytest.mark.drill

AGENTS: Final = (
    ("streams", "compaction"),
    ("streams", "merges"),
    ("sinks", "postgres"),
    ("sinks", "redis"),
    ("sinks", "mail"),
    ("jobs",),
)
CART: Final = "user:ada"
"""A cart that there is in both shops."""
SHOPS: Final = ("shop-a", "shop-b")
OTHER_KEYS: Final = {b"local:readiness"}
"""What the embedded stack itself writes."""


class Shop:
    """One of the shops."""

    def __init__(self, prefix: str, environment: dict[str, str], smtp: SmtpServer) -> None:
        self.prefix = prefix
        self.schema = environment["CARTSTREAM_POSTGRES_SCHEMA"]
        self.product = f"of-{prefix}"
        self.environment = {"CARTSTREAM_PREFIX": prefix, **environment}
        self.smtp = smtp
        self.gateway = ""
        self.kafka = KafkaSettings(kafka_bootstrap=environment["CARTSTREAM_KAFKA_BOOTSTRAP"])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command: names are made when a process is loaded."""
        return subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def launch(self, folder: Path) -> list[Process]:
        """Start a gateway and its agents; wait for nothing."""
        gateway = GatewayProcess(self.environment, folder / self.prefix)
        self.gateway = gateway.url
        agents = [
            AgentProcess(
                command,
                # The same in both shops, whose groups are not the same.
                {**self.environment, "CARTSTREAM_GROUP_INSTANCE_ID": f"{'-'.join(command)}-0"},
                folder / self.prefix,
            )
            for command in AGENTS
        ]
        for process in (gateway, *agents):
            process.launch()
        return [gateway, *agents]

    async def add(self, cart_id: str) -> dict[str, Any]:
        """Add a piece of what only this shop has."""
        item = {"product_id": self.product, "quantity": 1}
        # One key: what was told to come again may have been added.
        headers = {"idempotency-key": uuid4().hex}
        async with http_client(self.gateway) as http:

            async def added() -> httpx.Response | None:
                reply = await http.post(f"/v1/carts/{cart_id}/items", json=item, headers=headers)
                return None if reply.status_code == 503 else reply

            reply = await until(added, f"{self.product} is in the cart")
        assert reply is not None
        assert reply.status_code == 200, reply.text
        assert reply.headers["cart-receipt"].startswith(f"{self.prefix}.cart-changed/")
        document: dict[str, Any] = reply.json()
        return document

    async def fresh(self, cart_id: str = CART) -> dict[str, Any] | None:
        """The cart as Redis has it; None while Redis lacks it."""
        async with http_client(self.gateway) as http:
            reply = await http.get(f"/v1/carts/{cart_id}")
        is_fresh = reply.status_code == 200 and reply.headers.get("cart-freshness") != "stale"
        return reply.json() if is_fresh else None

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the shop's own schema."""
        url = with_parameters(
            self.environment["CARTSTREAM_POSTGRES_URL"], options=f"-c search_path={self.schema}"
        )
        with psycopg.connect(url) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    async def until_equal(self) -> None:
        """Wait until Redis, Kafka and Postgres have the same, and nothing is on its way."""

        async def is_equal() -> bool:
            verified = await asyncio.to_thread(self.run, "verify", "--json")
            return verified.returncode == 0 and json.loads(verified.stdout)["in_redis"] > 0

        await until(is_equal, f"the stores of {self.prefix} are equal")

    def has_row(self, cart_id: str) -> bool:
        """Whether the cart's row has the shop's piece, and no other."""
        found = self.rows("SELECT product_id, quantity FROM cart_lines WHERE cart_id = %s", cart_id)
        return found == [(self.product, 1)]

    async def records(self, topic: str, key: str) -> list[Any]:
        """What a topic of the shop has of a key."""
        partition = partition_of(key.encode(), PARTITIONS)
        records = await records_of(self.kafka, f"{self.prefix}.{bare(topic)}", [partition])
        return [record for record in records if record.key == key.encode()]


async def names_in_kafka(kafka: KafkaSettings) -> set[str]:
    """All topics and groups of the cluster."""
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        groups = {name for name, *_ in await admin.list_consumer_groups()}
        return groups | set(await admin.list_topics())
    finally:
        await admin.close()


@pytest.fixture(scope="module")
def before(servers: Servers) -> set[str]:
    """The names of Kafka before there is a shop."""
    return asyncio.run(names_in_kafka(KafkaSettings(kafka_bootstrap=servers.url(KAFKA))))


@pytest.fixture(scope="module")
def shops(
    servers: Servers, before: set[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Shop]]:
    """Two shops at work, with a prefix and a schema of their own; `before` is of the time before them."""
    del before
    folder = tmp_path_factory.mktemp("shops")
    with ExitStack() as cleanup:
        redis.Redis.from_url(servers.url(REDIS)).flushall()
        database = cleanup.enter_context(empty_database(servers.url(POSTGRES)))
        found = []
        for prefix in SHOPS:
            smtp = SmtpServer()
            # Of its own thread: tests come and go with their event loops.
            mail_server = Controller(smtp, hostname=HOST, port=smtp.port)
            mail_server.start()
            cleanup.callback(mail_server.stop)
            environment = {
                "PATH": "/usr/bin:/bin",
                **INTERNAL,
                "CARTSTREAM_KAFKA_BOOTSTRAP": servers.url(KAFKA),
                "CARTSTREAM_REDIS_URL": servers.url(REDIS),
                "CARTSTREAM_POSTGRES_URL": database,
                "CARTSTREAM_POSTGRES_SCHEMA": prefix.replace("-", "_"),
                "CARTSTREAM_SMTP_HOST": HOST,
                "CARTSTREAM_SMTP_PORT": str(smtp.port),
                "CARTSTREAM_SESSION_TIMEOUT_S": "6",
                # Every merge goes over Kafka to the agent.
                "CARTSTREAM_MERGE_LINES": "0",
            }
            shop = Shop(prefix, environment, smtp)
            migrate(Address(database, shop.schema))
            found.append(shop)
        one, other = found
        assert one.run("topics", "apply", "--allow-single").returncode == 0
        assert one.run("topics", "check", "--allow-single").returncode == 0
        missing = other.run("topics", "check", "--allow-single", "--json")
        assert missing.returncode == 1
        assert "shop-b.cart-changed" in missing.stdout
        assert "shop-a" not in missing.stdout
        assert other.run("topics", "apply", "--allow-single").returncode == 0
        processes = [process for shop in found for process in shop.launch(folder)]
        for process in processes:
            cleanup.callback(process.kill)
        for process in processes:
            process.wait_ready()
        for shop in found:
            asyncio.run(offer(shop.gateway, {shop.product: None}))
        yield found


async def test_two_shops_share_kafka_and_redis_and_nothing_else(shops: list[Shop], before: set[str]) -> None:
    one, other = shops
    carts = [await shop.add(CART) for shop in shops]
    for shop, cart in zip(shops, carts, strict=True):
        assert [line["product_id"] for line in cart["lines"]] == [shop.product]
        await until(partial(shop.has_row, CART), "the row is there")
        assert len(await shop.records(CARTS.name, CART)) == 1

    store = redis.Redis.from_url(one.environment["CARTSTREAM_REDIS_URL"])
    keys = set(store.scan_iter(count=1000)) - OTHER_KEYS
    assert {key.split(b":")[0].decode() for key in keys} == set(SHOPS)
    new = await names_in_kafka(one.kafka) - before - {"__consumer_offsets"}
    assert {name.split(".")[0] for name in new} == set(SHOPS)

    # What one shop loses the other one keeps.
    async with http_client(one.gateway) as http:
        origin = {"origin": one.gateway, "sec-fetch-site": "same-origin"}
        wiped = await http.post("/demo/wipe", headers=origin)
    assert wiped.status_code == 200, wiped.text
    kept = await other.fresh()
    assert kept is not None
    assert kept["version"] == carts[1]["version"]
    back = await until(one.fresh, "the cart is back")
    assert back is not None
    assert back["version"] == carts[0]["version"]
    for shop in shops:
        await shop.until_equal()


async def test_carts_of_guests_become_orders_in_both_shops_at_once(shops: list[Shop]) -> None:
    # The same carts and the same address in both.
    user, guest, address = f"user:{uuid4().hex}", f"guest:{uuid4().hex}", f"{uuid4().hex}@example.org"

    async def buy(shop: Shop) -> str:
        await shop.add(guest)
        async with http_client(shop.gateway) as http:

            async def begun() -> httpx.Response | None:
                reply = await http.post(f"/v1/carts/{user}/merge", json={"guest": guest})
                return None if reply.status_code == 503 else reply

            reply = await until(begun, "the merge has begun")
            assert reply is not None
            assert reply.is_success, reply.text

            async def merged() -> bool:
                cart = await shop.fresh(user)
                return cart is not None and [line["product_id"] for line in cart["lines"]] == [shop.product]

            await until(merged, "the user has the guest's piece")

            async def ordered() -> httpx.Response | None:
                reply = await http.post(
                    f"/v1/carts/{user}/checkout", json={"email": address}, headers={"idempotency-key": guest}
                )
                return None if reply.status_code == 503 else reply

            reply = await until(ordered, "the cart is ordered")
        assert reply is not None
        assert reply.status_code == 201, reply.text
        order_id: str = reply.json()["order_id"]
        await until(lambda: shop.records(ORDERS.name, order_id), "the order is in orders")
        await until(lambda: shop.smtp.to(address), "the mail has come")
        return order_id

    orders = await asyncio.gather(*(buy(shop) for shop in shops))
    for shop, order_id in zip(shops, orders, strict=True):
        assert shop.rows("SELECT order_id::text FROM orders") == [(order_id,)]
        assert len(shop.smtp.to(address)) == 1
        (other,) = set(orders) - {order_id}
        assert await shop.records(ORDERS.name, other) == []


async def test_rows_of_one_shop_are_written_again_and_those_of_the_other_stay(shops: list[Shop]) -> None:
    carts = [f"user:{uuid4().hex}" for _ in range(5)]
    for shop in shops:
        for cart_id in carts:
            await shop.add(cart_id)
        for cart_id in carts:
            await until(partial(shop.has_row, cart_id), "the row is there")
    one, other = shops
    await other.until_equal()
    kept = other.rows("SELECT carts::text FROM carts ORDER BY cart_id")
    one.rows("DELETE FROM carts WHERE cart_id = ANY(%s)", carts)
    rebuilt = await asyncio.to_thread(one.run, "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert all(map(one.has_row, carts))
    assert other.rows("SELECT carts::text FROM carts ORDER BY cart_id") == kept


async def test_figures_of_one_shop_do_not_count_what_the_other_does(shops: list[Shop]) -> None:
    one, other = shops

    async def changes(shop: Shop) -> list[str]:
        async with http_client(shop.gateway) as http:
            lines = (await http.get("/metrics")).text.splitlines()
        return [line for line in lines if line.startswith("cartstream_gateway_changes_total{")]

    before = await changes(other)
    own = await changes(one)
    await one.add(f"user:{uuid4().hex}")
    assert await changes(other) == before
    assert await changes(one) != own
    for shop in shops:
        await until(partial(has_its_own_workers, shop), f"the workers of {shop.prefix}")


async def has_its_own_workers(shop: Shop) -> bool:
    """Whether each group has one; while it is being divided it has none."""
    seen = await asyncio.to_thread(shop.run, "workers", "--json")
    assert seen.returncode == 0, seen.stderr
    groups = json.loads(seen.stdout)["groups"]
    assert {group["group"].split(".")[0] for group in groups} == {shop.prefix}
    # The history is off: nobody works on it.
    return [len(group["members"]) for group in groups if "history" not in group["group"]] == [1] * 6
