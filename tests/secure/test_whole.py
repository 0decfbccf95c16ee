"""The whole product over TLS, each process with a principal of its own: none needs a right that it lacks.

Redis and Postgres speak TLS only, too, and want certificates.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from aiokafka import AIOKafkaProducer
from aiosmtpd.controller import Controller

from tests.mail.smtp_server import HOST, SmtpServer
from tests.ops.command_line import CommandLine
from tests.secure.secure_broker import ROOT, SecureBroker
from tests.secure.secure_servers import SecurePostgres, SecureRedis
from tests.support.databases import migrated_database
from tests.support.http import http_client
from tests.support.processes import INTERNAL, AgentProcess, GatewayProcess, Process
from tests.support.topics import records_of
from tests.support.waiting import until
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, CART_MERGES, CARTS, DEAD_LETTERS, ORDERS, PARTITIONS

pytestmark = pytest.mark.secure

AGENTS = {
    "compaction": ("streams", "compaction"),
    "merges": ("streams", "merges"),
    "sink-postgres": ("sinks", "postgres"),
    "sink-redis": ("sinks", "redis"),
    "sink-mail": ("sinks", "mail"),
    "sink-history": ("sinks", "history"),
    "jobs": ("jobs",),
}
"""The commands of the roles that are processes, the gateway apart."""
PRODUCT = "espresso-cup"


class Shop:
    """Where the product answers, and its commands as somebody with a role."""

    def __init__(self, broker: SecureBroker, environment: dict[str, str], smtp: SmtpServer) -> None:
        self.broker = broker
        self.environment = environment
        self.smtp = smtp
        self.gateway = ""
        self.operator = broker.settings("cartstream-operator")

    def told(self, role: str) -> dict[str, str]:
        """The variables of a process that has the role; most of them prove it with a password."""
        user = f"cartstream-{role}"
        match role:
            case "sink-mail":
                proof = self.broker.environment_with_certificate(user)
            case "sink-history":
                # Its connections end every few seconds, and it goes on.
                proof = self.broker.environment_with_token(user, seconds=10)
            case _:
                proof = self.broker.environment(user)
        return self.environment | proof

    def commands(self, role: str) -> CommandLine:
        """The command line of somebody who has the role."""
        return CommandLine(self.told(role))

    async def records(self, topic: str, key: str) -> list[Any]:
        """What a topic has of a key; an operator reads it."""
        found = await records_of(self.operator, topic, [partition_of(key.encode(), PARTITIONS)])
        return [record for record in found if record.key == key.encode()]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        with psycopg.connect(self.environment["CARTSTREAM_POSTGRES_URL"]) as connection:
            return connection.execute(query, values).fetchall()


@pytest.fixture(scope="module")
def shop(
    broker: SecureBroker,
    secure_redis: SecureRedis,
    secure_postgres: SecurePostgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shop]:
    """The product at work: a gateway and every agent, each as the principal of its role."""
    folder = tmp_path_factory.mktemp("shop")
    with ExitStack() as cleanup:
        database = cleanup.enter_context(migrated_database(secure_postgres.url))
        smtp = SmtpServer()
        # Of its own thread: tests come and go with their event loops.
        mail_server = Controller(smtp, hostname=HOST, port=smtp.port)
        mail_server.start()
        cleanup.callback(mail_server.stop)
        environment = {
            **INTERNAL,
            "CARTSTREAM_REDIS_URL": secure_redis.url,
            "CARTSTREAM_POSTGRES_URL": database,
            "CARTSTREAM_HISTORY": "true",
            "CARTSTREAM_SMTP_HOST": HOST,
            "CARTSTREAM_SMTP_PORT": str(smtp.port),
            "CARTSTREAM_SESSION_TIMEOUT_S": "6",
            # Every merge goes over Kafka to the agent.
            "CARTSTREAM_MERGE_LINES": "1",
        }
        found = Shop(broker, environment, smtp)
        processes: list[Process] = [
            AgentProcess(
                command,
                {**found.told(role), "CARTSTREAM_GROUP_INSTANCE_ID": f"{role}-0"},
                folder,
            )
            for role, command in AGENTS.items()
        ]
        gateway = GatewayProcess(found.told("gateway"), folder)
        for process in (gateway, *processes):
            cleanup.callback(process.kill)
            process.launch()
        for process in (gateway, *processes):
            process.wait_ready()
        found.gateway = gateway.url
        yield found


@pytest.fixture
async def http(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway, once the catalogue has its products."""
    assert (await shop.commands("operator").run("products", "sample")).status == 0
    async with http_client(shop.gateway) as client:

        async def has_products() -> bool:
            return (await client.get(f"/v1/products/{PRODUCT}")).status_code == 200

        await until(has_products, "the product is in the catalogue")
        yield client


async def add(http: httpx.AsyncClient, cart_id: str, product_id: str = PRODUCT) -> httpx.Response:
    """Add a piece, with one key until that is in Kafka."""

    async def added() -> httpx.Response | None:
        reply = await post(http, f"/v1/carts/{cart_id}/items", {"product_id": product_id, "quantity": 1}, key)
        assert reply.status_code == 200, reply.text
        return reply if reply.headers["preference-applied"] == "durability=kafka" else None

    key = uuid4().hex
    reply = await until(added, f"{product_id} is added")
    assert reply is not None
    return reply


async def post(http: httpx.AsyncClient, path: str, body: dict[str, Any], key: str) -> httpx.Response:
    """The answer to a request; what says that one is to come again is asked for again with its key."""

    async def answered() -> httpx.Response | None:
        reply = await http.post(path, json=body, headers={"idempotency-key": key})
        return None if reply.status_code == 503 else reply

    reply = await until(answered, f"an answer of {path}")
    assert reply is not None
    return reply


def test_redis_and_postgres_turn_away_whoever_proves_nothing(
    secure_redis: SecureRedis, secure_postgres: SecurePostgres
) -> None:
    assert redis.Redis.from_url(secure_redis.url).ping()
    for url in (secure_redis.url_in_the_clear, secure_redis.url_without_certificate):
        with pytest.raises(redis.exceptions.ConnectionError):
            redis.Redis.from_url(url).ping()
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(secure_postgres.url_in_the_clear)
    with pytest.raises(psycopg.OperationalError, match="requires a valid client certificate"):
        psycopg.connect(secure_postgres.url_without_certificate)


def test_every_connection_to_postgres_is_encrypted_and_has_a_certificate(shop: Shop) -> None:
    connections = shop.rows(
        "SELECT application_name, ssl, client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
        "WHERE backend_type = 'client backend'"
    )
    assert {(encrypted, name) for _, encrypted, name in connections} == {(True, "/CN=postgres-client")}
    # The test's own apart, those of the gateway and the agents.
    assert len({name for name, *_ in connections}) > 3


async def test_a_cart_is_recorded_folded_written_and_restored(shop: Shop, http: httpx.AsyncClient) -> None:
    cart_id = f"user:{uuid4().hex}"
    added = await add(http, cart_id)
    (record,) = await shop.records(CART_CHANGED.name, cart_id)
    assert added.headers["cart-receipt"] == f"{CART_CHANGED.name}/{record.partition}/{record.offset}"
    await until(lambda: shop.records(CARTS.name, cart_id), "the cart is in carts")
    await until(lambda: shop.rows("SELECT FROM carts WHERE cart_id = %s", cart_id), "the cart has a row")
    await until(
        lambda: shop.rows("SELECT FROM cart_changes WHERE cart_id = %s", cart_id),
        "the change is in the history",
    )
    redis.Redis.from_url(shop.environment["CARTSTREAM_REDIS_URL"]).flushall()

    async def restored() -> dict[str, Any] | None:
        reply = await http.get(f"/v1/carts/{cart_id}")
        fresh = reply.status_code == 200 and reply.headers.get("cart-freshness") != "stale"
        return reply.json() if fresh else None

    cart = await until(restored, "the cart is back")
    assert cart is not None
    assert cart["version"] == added.json()["version"]


async def test_an_order_is_told_and_mailed(shop: Shop, http: httpx.AsyncClient) -> None:
    cart_id, address = f"user:{uuid4().hex}", f"{uuid4().hex}@example.org"
    await add(http, cart_id)
    reply = await post(http, f"/v1/carts/{cart_id}/checkout", {"email": address}, uuid4().hex)
    assert reply.status_code == 201, reply.text
    order_id = reply.json()["order_id"]
    await until(lambda: shop.records(ORDERS.name, order_id), "the order is in orders")
    await until(lambda: shop.smtp.to(address), "the mail has come")


async def test_a_merge_goes_over_kafka_to_its_agent(shop: Shop, http: httpx.AsyncClient) -> None:
    user, guest = f"user:{uuid4().hex}", f"guest:{uuid4().hex}"
    await add(http, guest)
    await add(http, guest, "cappuccino-cup")
    begun = await post(http, f"/v1/carts/{user}/merge", {"guest": guest}, uuid4().hex)
    assert begun.status_code == 202, begun.text
    await until(lambda: shop.records(CART_MERGES.name, user), "the merge is in cart-merges")

    async def merged() -> bool:
        reply = await http.get(f"/v1/carts/{user}")
        return reply.status_code == 200 and len(reply.json()["lines"]) == 2

    await until(merged, "the user has the guest's lines")


async def test_an_unreadable_record_becomes_a_dead_letter_that_operators_see(shop: Shop) -> None:
    key = f"user:{uuid4().hex}"
    async with AIOKafkaProducer(**shop.broker.settings(ROOT).client_options(), acks="all") as producer:
        partition = partition_of(key.encode(), PARTITIONS)
        await producer.send_and_wait(CART_CHANGED.name, b"{", key.encode(), partition)
    await until(lambda: shop.records(DEAD_LETTERS.name, key), "the record is a dead letter")
    listed = await shop.commands("operator").json("dlq", "list", "--topic", CART_CHANGED.name)
    assert key in {letter["key"] for letter in listed["dead_letters"]}


async def test_operators_have_the_rights_that_their_commands_need(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    await add(http, f"user:{uuid4().hex}")
    operator = shop.commands("operator")

    async def verified() -> bool:
        return (await operator.run("verify")).status == 0

    await until(verified, "all stores agree", every_s=1)
    workers = await operator.run("workers")
    assert workers.status == 0, workers.errors
    checked = await shop.commands("admin").run("topics", "check", "--allow-single")
    assert checked.status == 0, checked.output
