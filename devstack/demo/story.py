"""The story of the demo, in steps. Each step shows what it found and fails when that is not as promised."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeVar

import redis
from rich.console import Console

from devstack.demo.records import newest_record, record_at
from devstack.demo.shop import Reply, Shop, new_key
from devstack.errors import StackError
from devstack.mailbox.messages import Messages
from devstack.settings import Urls
from topics.partitioner import partition_of
from topics.registry import CARTS, ORDERS, PARTITIONS

CART = "user:ada"
EMAIL = "ada@example.org"
PRODUCT = "espresso-cup"
CUPS = 2
WAIT_SECONDS = 60.0

T = TypeVar("T")


class StepFailed(StackError):
    """A step of the story did not end as told."""


class Story:
    """Tells the steps on a stack that runs; keeps how long each took."""

    def __init__(self, urls: Urls, mails: Messages, console: Console) -> None:
        self._urls = urls
        self._mails = mails
        self._console = console
        self._shop = Shop(urls, CART, PRODUCT)
        self.seconds: dict[str, float] = {}

    def tell(self) -> None:
        """All steps in order. Raises StepFailed."""
        price = self._look_at_the_product()
        add_key = new_key()
        added = self._add(add_key, price)
        partition = self._find_the_change(added)
        self._find_the_folded_cart(added, partition)
        self._find_the_row()
        self._lose_redis(added)
        self._retry(added, add_key)
        stock = self._wait_for_product()["stock"]
        order_id = self._check_out()
        self._find_the_order(order_id)
        self._look_at_the_stock(stock)
        self._read_the_mail()

    def _look_at_the_product(self) -> int:
        with self._step("The shop page shows a product from Redis"):
            product = self._wait_for_product()
            self._show(
                "product", {name: product[name] for name in ("name", "unit_price", "currency", "stock")}
            )
            return int(product["unit_price"])

    def _add(self, key: str, price: int) -> Reply:
        with self._step("A shopper adds two cups over HTTP"):
            added = self._shop.add(CUPS, key)
            expect(added.is_success, f"the add was answered with {added.status}: {added.body}")
            durability = added.headers.get("preference-applied")
            self._show("answer", f"{added.status} ETag {added.headers['etag']}, {durability}")
            self._show("receipt", added.headers["cart-receipt"])
            self._show("cart", added.body)
            (line,) = added.body["lines"]
            expect(line["unit_price"] == price, f"the line has another price: {line}")
            return added

    def _find_the_change(self, added: Reply) -> int:
        with self._step("The receipt names the Kafka record of the change"):
            topic, partition, offset = added.headers["cart-receipt"].split("/")
            record = record_at(self._urls.kafka_bootstrap, topic, int(partition), int(offset))
            expect(record.key == CART.encode(), f"the record there belongs to {record.key!r}")
            self._show(f"{topic}[{partition}]@{offset}", record.value.decode())
            return int(partition)

    def _find_the_folded_cart(self, added: Reply, partition: int) -> None:
        with self._step("The compaction agent folds it into the compacted topic `carts`"):
            state = eventually(
                lambda: newest_record(self._urls.kafka_bootstrap, CARTS.name, partition, CART.encode()),
                "no record of the cart appeared in `carts`",
            )
            version, seen = dict(state.headers)["cart_version"].decode(), added.body["version"]
            expect(version == seen, f"`carts` has version {version}, the shopper has {seen}")
            self._show(f"carts[{partition}]@{state.offset}", f"version {version}, {len(state.value)} bytes")

    def _find_the_row(self) -> None:
        with self._step("The sink writes it to Postgres"):
            self._show("row", eventually(self._shop.row, "no row of the cart appeared in Postgres"))

    def _lose_redis(self, added: Reply) -> None:
        with self._step("Redis loses everything (FLUSHALL); the cart comes back by itself"):
            redis.Redis.from_url(self._urls.redis).flushall()
            self._show("redis", "FLUSHALL done")
            restored = eventually(lambda: _restored(self._shop.cart()), "the cart did not come back")
            version = added.body["version"]
            expect(
                restored.body["version"] == version,
                f"its version is {restored.body['version']}, it was {version}",
            )
            expect(
                restored.body["lines"] == added.body["lines"], f"its lines are {restored.body['lines']} now"
            )
            self._show("cart", f"same version {version}, same lines")

    def _retry(self, added: Reply, key: str) -> None:
        with self._step("A retry with the same Idempotency-Key applies nothing twice"):
            retried, version = self._shop.add(CUPS, key), added.body["version"]
            expect(retried.is_success, f"the retry was answered with {retried.status}: {retried.body}")
            (line,) = retried.body["lines"]
            expect(
                retried.body["version"] == version and line["quantity"] == CUPS,
                f"the retry changed the cart: {retried.body}",
            )
            self._show("cart", f"still {line['quantity']} cups, version {version}")

    def _check_out(self) -> str:
        key = new_key()
        with self._step("The shopper checks out; order and stock are one transaction"):
            placed = self._shop.check_out(EMAIL, key)
            expect(
                placed.status == HTTPStatus.CREATED, f"it was answered with {placed.status}: {placed.body}"
            )
            self._show("order", placed.body)
            order_id = str(placed.body["order_id"])
            again = self._shop.check_out(EMAIL, key)
            expect(
                again.body.get("order_id") == order_id,
                f"a retry was answered with {again.status}: {again.body}",
            )
            replayed = again.headers.get("idempotency-replayed")
            self._show("retry", f"the same order, Idempotency-Replayed {replayed}")
            lines = self._shop.cart().body["lines"]
            expect(not lines, f"the ordered lines are still in the cart: {lines}")
            self._show("cart", "empty")
            return order_id

    def _find_the_order(self, order_id: str) -> None:
        with self._step("The relay carries the order from the Postgres outbox to Kafka"):
            key = order_id.encode()
            partition = partition_of(key, PARTITIONS)
            record = eventually(
                lambda: newest_record(self._urls.kafka_bootstrap, ORDERS.name, partition, key),
                "no record of the order appeared in `orders`",
            )
            self._show(f"orders[{partition}]@{record.offset}", record.value.decode())

    def _look_at_the_stock(self, before: int) -> None:
        with self._step("The shop page shows the new stock"):

            def changed() -> int | None:
                stock = int(self._wait_for_product()["stock"])
                return stock if stock != before else None

            now = eventually(changed, f"the stock of {PRODUCT} is still {before}")
            expect(before - now == CUPS, f"{CUPS} were ordered, and the stock went from {before} to {now}")
            self._show("stock", f"{before} before, {now} now")

    def _read_the_mail(self) -> None:
        with self._step("The mail agent confirms the order; the mailbox has one mail"):
            eventually(lambda: self._mails.list(10) or None, "no mail was received")
            (mail,) = self._mails.list(10)
            expect(mail.recipient == EMAIL and mail.copies == 1, f"another mail was received: {mail}")
            message = self._mails.read(mail.id)
            self._show("mail", f"{mail.subject}, to {mail.recipient}")
            self._show("text", "\n" + (message.text.strip() if message else ""))

    def _wait_for_product(self) -> dict[str, Any]:
        """The product, as soon as the catalogue in Redis has it."""
        return eventually(
            lambda: _product(self._shop.product()), f"{PRODUCT} did not appear in the catalogue"
        )

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        self._console.rule(f"[bold]{len(self.seconds) + 1}. {title}", align="left")
        began = time.perf_counter()
        yield
        self.seconds[title] = time.perf_counter() - began
        self._console.print(f"[green]ok[/green] in {self.seconds[title]:.2f} s\n")

    def _show(self, what: str, value: object) -> None:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        self._console.print(f"[cyan]{what}[/cyan]", end=" ", highlight=False)
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001  it reads like an assert
    """Raises StepFailed saying `otherwise` unless the claim holds."""
    if not holds:
        raise StepFailed(otherwise)


def eventually(probe: Callable[[], T | None], otherwise: str) -> T:
    """The first result of `probe` that is not None. Raises StepFailed after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if (found := probe()) is not None:
            return found
        time.sleep(0.05)
    raise StepFailed(f"{otherwise} (waited {WAIT_SECONDS:.0f} s)")


def _product(reply: Reply) -> dict[str, Any] | None:
    expect(
        reply.is_success or reply.status in _NOT_YET,
        f"the product page answered {reply.status}: {reply.body}",
    )
    return reply.body if reply.is_success else None


def _restored(reply: Reply) -> Reply | None:
    expect(
        reply.is_success or reply.status == HTTPStatus.SERVICE_UNAVAILABLE,
        f"while Redis was being restored the read was answered with {reply.status}: {reply.body}",
    )
    # Without its catalogue the cart says that it cannot tell whether prices have changed.
    is_fresh = reply.headers.get("cart-freshness") != "stale" and not reply.body.get("warnings")
    return reply if reply.is_success and is_fresh else None


_NOT_YET = frozenset((HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE))
"""What the product page answers while the catalogue is being loaded into Redis."""
