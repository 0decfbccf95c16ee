"""`cartstream demo`: the whole story once, on servers of its own; non-zero when a step fails."""

import asyncio
import json
import secrets
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import psycopg
import redis
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from rich.console import Console

from devstack.components import COMPONENTS
from devstack.embedded import EmbeddedStack
from devstack.mailbox.messages import Messages
from devstack.settings import Urls
from devstack.spec import RestartPolicy
from topics.partitioner import partition_of
from topics.registry import PARTITIONS

CART = "user:ada"
SHOPPER = "ada@example.org"
PRODUCT = "espresso-cup"
WAIT_SECONDS = 60.0


class StepFailed(click.ClickException):
    """A step of the story did not end as told."""


class Story:
    """Runs the steps, prints what they show and how long they took."""

    def __init__(self, urls: Urls, console: Console) -> None:
        self._urls = urls
        self._console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step of the story."""
        self._console.rule(f"[bold]{len(self.seconds) + 1}. {title}", align="left")
        started = time.perf_counter()
        yield
        self.seconds[title] = time.perf_counter() - started
        self._console.print(f"[green]ok[/green] in {self.seconds[title]:.2f} s\n")

    def show(self, what: str, value: object) -> None:
        """Print a thing the step found."""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        self._console.print(f"[cyan]{what}[/cyan] {text}", soft_wrap=True, highlight=False)

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        """An HTTP request to the gateway: status, lower-case headers, JSON."""
        request = urllib.request.Request(  # noqa: S310 - the address is our own gateway's
            self._urls.gateway + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                **{k.replace("_", "-"): v for k, v in headers.items()},
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
                return (
                    response.status,
                    {k.lower(): v for k, v in response.headers.items()},
                    json.load(response),
                )
        except urllib.error.HTTPError as refusal:
            return refusal.code, {k.lower(): v for k, v in refusal.headers.items()}, json.load(refusal)


def uuid7() -> str:
    """A UUIDv7 (RFC 9562) of now: an Idempotency-Key that tells when the first attempt was."""
    stamped = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return str(UUID(int=stamped & ~(0xF << 76) & ~(0x3 << 62) | 7 << 76 | 2 << 62))


def expect(truth: bool, otherwise: str) -> None:
    """Fail the story with `otherwise` unless the claim holds."""
    if not truth:
        raise StepFailed(otherwise)


def eventually(probe: Callable[[], Any], otherwise: str) -> Any:
    """The first result of `probe` that is not None; fails the story after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        found = probe()
        if found is not None:
            return found
        time.sleep(0.05)
    raise StepFailed(f"{otherwise} (waited {WAIT_SECONDS:.0f} s)")


def read_record(bootstrap: str, topic: str, partition: int, offset: int) -> ConsumerRecord:
    """The record that stands at exactly this place."""

    async def read() -> ConsumerRecord:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            place = TopicPartition(topic, partition)
            consumer.assign([place])
            consumer.seek(place, offset)
            async with asyncio.timeout(WAIT_SECONDS):
                return await consumer.getone(place)
        finally:
            await consumer.stop()

    return asyncio.run(read())


def newest_record(bootstrap: str, topic: str, partition: int, key: bytes) -> ConsumerRecord | None:
    """The newest record of `key` in a partition."""

    async def read() -> ConsumerRecord | None:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            place = TopicPartition(topic, partition)
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            await consumer.seek_to_beginning(place)
            found = None
            while await consumer.position(place) < end:
                for record in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                    found = record if record.key == key else found
            return found
        finally:
            await consumer.stop()

    return asyncio.run(read())


def tell(story: Story, urls: Urls) -> None:
    """The story: a product, an add, find it in four places, wipe Redis, find it again, retry."""
    key = uuid7()
    add = {"product_id": PRODUCT, "quantity": 2}
    with story.step("The shop page shows a product out of Redis"):
        product = eventually(lambda: _product(story), f"{PRODUCT} did not appear in the catalogue")
        story.show("product", {name: product[name] for name in ("name", "unit_price", "currency", "stock")})
    with story.step("A shopper adds two cups over HTTP"):
        status, headers, cart = story.request("POST", f"/v1/carts/{CART}/items", add, Idempotency_Key=key)
        expect(status in {200, 201}, f"the add answered {status}: {cart}")
        etag = headers["etag"]
        story.show("answer", f"{status} ETag {etag}, Preference-Applied {headers.get('preference-applied')}")
        story.show("receipt", headers["cart-receipt"])
        story.show("cart", cart)
        (line,) = cart["lines"]
        expect(line["unit_price"] == product["unit_price"], f"the line has another price: {line}")
    with story.step("The receipt names the Kafka record of the change"):
        topic, partition, offset = headers["cart-receipt"].split("/")
        record = read_record(urls.kafka_bootstrap, topic, int(partition), int(offset))
        expect(record.key == CART.encode(), f"the record there belongs to {record.key!r}")
        story.show(f"{topic}[{partition}]@{offset}", record.value.decode())
    with story.step("The compaction agent folds it into the compacted topic `carts`"):
        state = eventually(
            lambda: newest_record(urls.kafka_bootstrap, "carts", int(partition), CART.encode()),
            "no record of the cart appeared in `carts`",
        )
        version = dict(state.headers)["cart_version"].decode()
        expect(f'"{version}"' == etag, f"`carts` has version {version}, the shopper has {etag}")
        story.show(f"carts[{partition}]@{state.offset}", f"version {version}, {len(state.value)} bytes")
    with story.step("The sink writes it to Postgres"):
        row = eventually(lambda: _row(urls.postgres), "no row of the cart appeared in Postgres")
        story.show("row", {"cart_id": row[0], "status": row[1], "subtotal": row[2], "lines": row[3]})
    with story.step("Redis loses everything (FLUSHALL); the cart comes back by itself"):
        redis.Redis.from_url(urls.redis).flushall()
        story.show("redis", "FLUSHALL done")
        headers, again = eventually(lambda: _fresh(story), "the cart did not come back")
        expect(headers["etag"] == etag, f"the cart came back as {headers['etag']}, it was {etag}")
        expect(again["lines"] == cart["lines"], f"the lines came back as {again['lines']}")
        story.show("cart", f"same version {headers['etag']}, same lines")
    with story.step("A retry with the same Idempotency-Key applies nothing twice, also after the loss"):
        status, headers, once = story.request("POST", f"/v1/carts/{CART}/items", add, Idempotency_Key=key)
        expect(status in {200, 201}, f"the retry answered {status}: {once}")
        expect(
            headers["etag"] == etag and once["lines"][0]["quantity"] == 2,
            f"the retry changed the cart: {once}",
        )
        story.show("cart", f"still {once['lines'][0]['quantity']} cups, version {headers['etag']}")


def tell_checkout(story: Story, urls: Urls, mails: Messages) -> None:
    """The story goes on: the cart becomes an order, the stock falls, a mail goes out."""
    key, body = uuid7(), {"email": SHOPPER}
    before = eventually(lambda: _product(story), f"{PRODUCT} did not come back into the catalogue")["stock"]
    with story.step("The shopper checks out; the order and the stock are one transaction"):
        status, _, order = story.request("POST", f"/v1/carts/{CART}/checkout", body, Idempotency_Key=key)
        expect(status == 201, f"the checkout answered {status}: {order}")
        story.show("order", order)
        status, headers, again = story.request(
            "POST", f"/v1/carts/{CART}/checkout", body, Idempotency_Key=key
        )
        expect(again.get("order_id") == order["order_id"], f"a retry answered {status}: {again}")
        story.show("retry", f"the same order, Idempotency-Replayed {headers.get('idempotency-replayed')}")
        _, _, cart = story.request("GET", f"/v1/carts/{CART}")
        expect(not cart["lines"], f"the ordered lines are still in the cart: {cart['lines']}")
        story.show("cart", "empty")
    with story.step("The relay carries the order from the Postgres outbox to Kafka"):
        name = order["order_id"].encode()
        record = eventually(
            lambda: newest_record(urls.kafka_bootstrap, "orders", partition_of(name, PARTITIONS), name),
            "no record of the order appeared in `orders`",
        )
        story.show(f"orders[{record.partition}]@{record.offset}", record.value.decode())
    with story.step("The shop page shows the new stock"):
        left = eventually(lambda: _stock(story, before), f"the stock of {PRODUCT} is still {before}")
        expect(before - left == 2, f"two pieces were ordered, and the stock went from {before} to {left}")
        story.show("stock", f"{before} before, {left} now")
    with story.step("The mail agent confirms the order; the mailbox has one mail"):
        eventually(lambda: mails.list(10) or None, "no mail came")
        (mail,) = mails.list(10)
        expect(mail.recipient == SHOPPER and mail.copies == 1, f"another mail came: {mail}")
        message = mails.read(mail.id)
        story.show("mail", f"{mail.subject}, to {mail.recipient}, at {urls.mailbox}/mails/{mail.id}")
        story.show("text", "\n" + (message.text.strip() if message else ""))


def _stock(story: Story, before: int) -> int | None:
    product = _product(story)
    return None if product is None or product["stock"] == before else int(product["stock"])


def _row(url: str) -> tuple[Any, ...] | None:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT cart_id, status, subtotal, lines FROM carts WHERE cart_id = %s", (CART,)
        ).fetchone()


def _product(story: Story) -> dict[str, Any] | None:
    status, _, product = story.request("GET", f"/v1/products/{PRODUCT}")
    expect(status in {200, 404, 503}, f"the product page answered {status}: {product}")
    return product if status == 200 else None


def _fresh(story: Story) -> tuple[dict[str, str], dict[str, Any]] | None:
    status, headers, cart = story.request("GET", f"/v1/carts/{CART}")
    expect(status in {200, 503}, f"while Redis was restored the read answered {status}: {cart}")
    # Without its catalogue the cart says that it cannot tell whether prices have changed.
    fresh = status == 200 and headers.get("cart-freshness") != "stale" and not cart["warnings"]
    return (headers, cart) if fresh else None


@click.command()
def command() -> None:
    """Tell the whole story once on servers of its own: add, wipe Redis, it is back, check out, get a mail."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="cartstream-demo-") as folder:
        started = time.perf_counter()
        console.print("starting Kafka, Redis, Postgres, gateway, agents and sinks on free ports ...")
        with EmbeddedStack(Path(folder), only=COMPONENTS, policy=RestartPolicy.ALWAYS) as stack:
            console.print(f"[green]ready[/green] after {time.perf_counter() - started:.1f} s\n")
            story = Story(stack.urls, console)
            tell(story, stack.urls)
            tell_checkout(story, stack.urls, Messages(stack.settings.mail_folder))
    for title, seconds in story.seconds.items():
        console.print(f"{seconds:7.2f} s  {title}")
    console.print("[bold green]The story holds.[/bold green]")
