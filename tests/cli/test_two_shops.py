"""Two shops on one Kafka and one Redis, told apart by their prefix: neither sees anything of the other."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
import redis
from aiokafka.admin import AIOKafkaAdminClient

from devstack.settings import KAFKA, POSTGRES, REDIS
from runtime.settings import KafkaSettings
from tests.support.databases import migrated_database
from tests.support.http import http_client
from tests.support.processes import ROOT, AgentProcess, GatewayProcess, Process
from tests.support.servers import Servers
from tests.support.topics import records_of
from tests.support.waiting import until
from topics.partitioner import partition_of
from topics.registry import CARTS, PARTITIONS

pytestmark = pytest.mark.drill

AGENTS: Final = (("streams", "compaction"), ("sinks", "postgres"), ("sinks", "redis"), ("jobs",))
CART: Final = "user:ada"
SHOPS: Final = ("shop-a", "shop-b")
OTHER_KEYS: Final = {b"local:readiness"}
"""What the embedded stack itself writes."""


class Shop:
    """One of the shops."""

    def __init__(self, prefix: str, environment: dict[str, str]) -> None:
        self.prefix = prefix
        self.environment = {"CARTSTREAM_PREFIX": prefix, **environment}
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

    async def add(self, product_id: str) -> dict[str, Any]:
        """Add a piece to the cart that has the same id in both shops."""
        item = {"product_id": product_id, "quantity": 1, "unit_price": 100, "currency": "EUR"}
        async with http_client(self.gateway) as http:

            async def added() -> httpx.Response | None:
                reply = await http.post(f"/v1/carts/{CART}/items", json=item)
                return None if reply.status_code == 503 else reply

            reply = await until(added, f"{product_id} is in the cart")
        assert reply is not None
        assert reply.status_code == 200, reply.text
        assert reply.headers["cart-receipt"].startswith(f"{self.prefix}.cart-changed/")
        document: dict[str, Any] = reply.json()
        return document

    async def fresh(self) -> dict[str, Any] | None:
        """The cart as Redis has it; None while Redis lacks it."""
        async with http_client(self.gateway) as http:
            reply = await http.get(f"/v1/carts/{CART}")
        is_fresh = reply.status_code == 200 and reply.headers.get("cart-freshness") != "stale"
        return reply.json() if is_fresh else None

    def has_row(self) -> bool:
        """Whether the cart's row has the shop's piece, and no other."""
        with psycopg.connect(self.environment["CARTSTREAM_POSTGRES_URL"]) as connection:
            found = connection.execute("SELECT product_id FROM cart_lines WHERE cart_id = %s", (CART,))
            return found.fetchall() == [(f"of-{self.prefix}",)]

    async def states(self) -> int:
        """How many states of the cart its own `carts` has."""
        partition = partition_of(CART.encode(), PARTITIONS)
        records = await records_of(self.kafka, f"{self.prefix}.{CARTS.name}", [partition])
        return sum(record.key == CART.encode() for record in records)


@pytest.fixture
def shops(servers: Servers) -> Iterator[list[Shop]]:
    """Two shops with a database each, and nothing else of their own; not started yet."""
    with ExitStack() as cleanup:
        redis.Redis.from_url(servers.url(REDIS)).flushall()
        yield [
            Shop(
                prefix,
                {
                    "PATH": "/usr/bin:/bin",
                    "CARTSTREAM_KAFKA_BOOTSTRAP": servers.url(KAFKA),
                    "CARTSTREAM_REDIS_URL": servers.url(REDIS),
                    "CARTSTREAM_POSTGRES_URL": cleanup.enter_context(
                        migrated_database(servers.url(POSTGRES))
                    ),
                    "CARTSTREAM_PRODUCTS_OWNER": "caller",
                    "CARTSTREAM_ORDERS_OWNER": "external",
                    "CARTSTREAM_SESSION_TIMEOUT_S": "6",
                },
            )
            for prefix in SHOPS
        ]


async def names_in_kafka(kafka: KafkaSettings) -> set[str]:
    """All topics and groups of the cluster."""
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        groups = {name for name, *_ in await admin.list_consumer_groups()}
        return groups | set(await admin.list_topics())
    finally:
        await admin.close()


async def test_two_shops_share_kafka_and_redis_and_nothing_else(shops: list[Shop], tmp_path: Path) -> None:
    one, other = shops
    before = await names_in_kafka(one.kafka)
    assert one.run("topics", "apply", "--allow-single").returncode == 0
    assert one.run("topics", "check", "--allow-single").returncode == 0
    missing = other.run("topics", "check", "--allow-single", "--json")
    assert missing.returncode == 1
    assert "shop-b.cart-changed" in missing.stdout
    assert "shop-a" not in missing.stdout
    assert other.run("topics", "apply", "--allow-single").returncode == 0

    with ExitStack() as cleanup:
        for process in [process for shop in shops for process in shop.launch(tmp_path)]:
            cleanup.callback(process.kill)
            await until(process.is_ready, f"{process.name} ready")
        carts = [await shop.add(f"of-{shop.prefix}") for shop in shops]
        for shop, cart in zip(shops, carts, strict=True):
            assert [line["product_id"] for line in cart["lines"]] == [f"of-{shop.prefix}"]
            await until(shop.has_row, "the row is there")
            assert await shop.states() == 1

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
            verified = await asyncio.to_thread(shop.run, "verify", "--json")
            assert verified.returncode == 0, verified.stdout + verified.stderr
            assert json.loads(verified.stdout)["in_redis"] > 0, verified.stdout
