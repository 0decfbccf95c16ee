"""No proof of anybody is in any store: tables, topics, keys and values of Redis, logs of every process.

A gateway in production mode and every agent work: guests with tokens and with sessions, users, merges,
orders, mails, histories, carts left behind. Then everything that they have written is searched.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import sql
from redis.asyncio import Redis

from tests.mail.smtp_server import running_smtp_server
from tests.support.http import http_client
from tests.support.processes import INTERNAL, AgentProcess, GatewayProcess
from tests.support.production import PRODUCTION, SECRET, bearer
from tests.support.servers import Urls
from tests.support.topics import records_of
from tests.support.waiting import until
from topics.registry import CART_ABANDONED, TOPICS

pytestmark = pytest.mark.drill

AGENTS: Final = (
    ("streams", "compaction"),
    ("streams", "merges"),
    ("sinks", "postgres"),
    ("sinks", "redis"),
    ("sinks", "history"),
    ("sinks", "mail"),
    ("jobs",),
)
CUP: Final = f"cup-{uuid4().hex}"
LINKS_KEY: Final = "links-to-carts-left-behind-are-signed-so"
ALL: Final = {
    **INTERNAL,
    **PRODUCTION,
    "CARTSTREAM_HISTORY": "true",
    "CARTSTREAM_MERGE_WAIT_S": "20",  # the next step is on the merged cart
    "CARTSTREAM_RECOVERY_KEYS": LINKS_KEY,
    "CARTSTREAM_ABANDONED_AFTER_S": "1",
    "CARTSTREAM_ABANDONMENT_PAUSE_S": "0.2",
    "CARTSTREAM_ABANDONMENT_MAILS": "true",
    "CARTSTREAM_RECOVERY_URL": "https://shop.example.com/recover?token={token}",
    "CARTSTREAM_UNSUBSCRIBE_URL": "https://carts.example.com/v1/unsubscribe/{token}",
    "CARTSTREAM_SMTP_TLS": "none",
}
WRITTEN: Final = frozenset(
    {
        *("abandoned_carts", "cart_changes", "carts", "merge_transfers", "merges"),
        *("order_lines", "orders", "post_checkout_tasks"),
    }
)
"""The tables that must have rows, or the search would find nothing for want of anything to find."""
_TABLES: Final = """
SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition
"""


class Shop:
    """The running product."""

    def __init__(self, http: httpx.AsyncClient, urls: Urls, processes: list[Any]) -> None:
        self.http = http
        self.urls = urls
        self.processes = processes

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """A request that succeeds; its answer. What says Retry-After is asked for again."""

        async def asked() -> httpx.Response | None:
            reply = await self.http.request(method, path, headers=headers, json=body)
            return None if reply.status_code == 503 else reply

        reply = await until(asked, f"an answer to {method} {path}")
        assert reply is not None
        assert reply.is_success, (path, reply.status_code, reply.text)
        document: dict[str, Any] = reply.json()
        return document

    async def has_the_cup(self) -> bool:
        """Whether there is something to buy: a cup of this test alone, others leave theirs in Redis."""
        return (await self.http.get(f"/v1/products/{CUP}")).is_success

    async def tables(self) -> dict[str, list[str]]:
        """Every row of every table, as text: all columns of all types."""
        async with await psycopg.AsyncConnection.connect(self.urls.postgres) as connection:
            names = [name for (name,) in await (await connection.execute(_TABLES)).fetchall()]
            found: dict[str, list[str]] = {}
            for name in names:
                query = sql.SQL("SELECT whole::text FROM {} AS whole").format(sql.Identifier(name))
                found[name] = [text for (text,) in await (await connection.execute(query)).fetchall()]
        return found

    async def redis(self) -> list[str]:
        """Every key and every value."""
        async with Redis.from_url(self.urls.redis) as client:
            found = []
            async for key in client.scan_iter():
                found += [repr(key), repr(await client.dump(key)), repr(await self._value(client, key))]
        return found

    @staticmethod
    async def _value(client: Redis, key: bytes | str) -> object:
        # A dump may be compressed.
        readers: dict[bytes | str, Any] = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"set": client.smembers,
        }
        kind = await client.type(key)
        if kind == b"zset":
            return await client.zrange(key, 0, -1)
        if kind == b"stream":
            return await client.xrange(key)
        return await readers[kind](key)

    async def topics(self) -> list[str]:
        """Every record of every topic, with its headers."""
        return [
            repr((record.key, record.value, record.headers))
            for spec in TOPICS
            for record in await records_of(self.urls.kafka, spec.name)
        ]

    def logs(self) -> list[str]:
        """What every process has said."""
        return [process.log.read_text() for process in self.processes]


@pytest.fixture
async def shop(urls: Urls, tmp_path: Path) -> AsyncIterator[Shop]:
    """Gateway and agents in production mode, a catalogue with a cup, a mail server."""
    async with AsyncExitStack() as stack:
        smtp = await stack.enter_async_context(running_smtp_server())
        mail = {"CARTSTREAM_SMTP_HOST": "127.0.0.1", "CARTSTREAM_SMTP_PORT": str(smtp.port)}
        environment = {**urls.environment(), **ALL, **mail}
        gateway = GatewayProcess(environment, tmp_path / "gateway")
        agents = [
            AgentProcess(
                command,
                {**environment, "CARTSTREAM_GROUP_INSTANCE_ID": f"{'-'.join(command)}-secrets"},
                tmp_path,
            )
            for command in AGENTS
        ]
        for process in (gateway, *agents):
            stack.callback(process.kill)
            process.launch()
        for process in (gateway, *agents):
            await until(process.is_ready, f"{process.name} ready")
        shop = Shop(await stack.enter_async_context(http_client(gateway.url)), urls, [gateway, *agents])
        cup = {"name": "Cup", "unit_price": 250, "currency": "EUR"}
        await shop.ask("PUT", f"/v1/products/{CUP}", bearer("shop", "catalogue"), cup)
        await until(shop.has_the_cup, "the cup in the cache")
        yield shop


def address(name: str) -> dict[str, Any]:
    return {"op": "details", "email": f"{name}@example.org", "shipping_address": {"name": name}}


@pytest.mark.timeout(300)
async def test_no_proof_and_no_key_is_in_any_table_topic_key_value_or_log(shop: Shop) -> None:
    ask, mark = shop.ask, uuid4().hex
    ada, session, mint_key = f"ada-{mark}@example.org", f"session-{mark}", f"mint-{mark}"
    user = bearer(ada)
    minted = await ask("POST", "/v1/carts", {"idempotency-key": mint_key}, {"items": [ITEM]})
    guest = {"authorization": f"Bearer {minted['token']}"}
    renewed = await ask("POST", f"/v1/carts/{minted['cart_id']}/token", guest)
    of_session = {"cart-session": session}
    for headers in (guest, of_session, user):
        steps = [{"op": "add", **ITEM}, {"op": "save", **ITEM}, address("Ada")]
        await ask("PATCH", "/v1/carts/me", headers, {"operations": steps})
    ticket = await ask("POST", f"/v1/carts/{minted['cart_id']}/stream-tickets", guest)

    left = await until(partial(recovery_token, shop, minted["cart_id"]), "the guest's cart left behind")
    assert left is not None
    recovered = await ask("GET", f"/v1/recover/{left}", {})
    await ask("POST", "/v1/carts/me/merge", user, {"guest": minted["token"]})
    mine = await ask("GET", "/v1/carts/me", of_session)
    await ask("POST", "/v1/carts/me/merge", {**user, "cart-session": session}, {"guest": mine["cart_id"]})
    await ask("POST", "/v1/carts/me/checkout", {**user, "idempotency-key": uuid4().hex}, {"email": ada})

    async def is_written() -> bool:
        tables = await shop.tables()
        # The task to mail a link has it until it is sent.
        is_sent = not any(left in row for row in tables["post_checkout_tasks"])
        return is_sent and not tables["outbox"] and all(tables[name] for name in WRITTEN)

    await until(is_written, "rows in every table, and the mail sent")

    secrets = {
        "guest token": minted["token"],
        "its secret": minted["token"].split(".")[1],
        "renewed token": renewed["token"],
        "token of a link": recovered["token"],
        "session id": session,
        "key of a mint": mint_key,
        "ticket": ticket["ticket"],
        "JWT": user["authorization"].removeprefix("Bearer "),
        "key of JWTs": SECRET,
        "key of guest tokens": PRODUCTION["CARTSTREAM_GUEST_TOKEN_KEYS"],
        "key of sessions": PRODUCTION["CARTSTREAM_SESSION_KEY"],
        "key of links": LINKS_KEY,
    }
    tables = await shop.tables()
    places = {
        **{f"table {name}": rows for name, rows in tables.items()},
        "topics": await shop.topics(),
        "Redis": await shop.redis(),
        "logs": shop.logs(),
    }
    assert [
        (name, place)
        for place, texts in places.items()
        for name, secret in secrets.items()
        if any(secret in text for text in texts)
    ] == []
    # A link is told in the topic and in the mail, and is in no table.
    assert not [name for name, rows in tables.items() if any(left in row for row in rows)]
    # The search does find what is there.
    assert any(minted["cart_id"] in row for row in tables["carts"])
    for name in ("topics", "Redis"):
        assert any(minted["cart_id"] in text for text in places[name]), name


ITEM: Final = {"product_id": CUP, "quantity": 1}


async def recovery_token(shop: Shop, cart_id: str) -> str | None:
    """The token of the link to a cart left behind, once it was told."""
    for record in await records_of(shop.urls.kafka, CART_ABANDONED.name):
        text = repr(record.value)
        if cart_id in text and '"recovery_token":"' in text:
            return text.partition('"recovery_token":"')[2].partition('"')[0]
    return None
