"""An erased cart and its orders hold nothing personal in any store, and nothing brings it back."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import psycopg
import pytest

from carts.operations import Change
from carts.state import State
from gateway.erasure.service import Erasure
from store.postgres import carts
from store.postgres.order_records import PricedSnapshot
from store.redis import StoredCart
from tests.checkout.checkout_client import PRICE, CheckoutClient
from tests.support.absent_carts import hydrated
from tests.support.copies import put_copies
from tests.support.erasing import erase_cart
from tests.support.processes import AgentProcess
from tests.support.topics import records_of
from tests.support.waiting import PATIENCE_S, until
from topics.codec import decode_change, decode_state
from topics.partitioner import partition_of
from topics.publishing import Publisher
from topics.records import OrderRecord
from topics.registry import CART_ABANDONED, CART_CHANGED, CARTS, DEAD_LETTERS, ORDERS, PARTITIONS

SECRET = "Ada Lovelace, ada@example.org"
EMAIL = "ada@example.org"


async def personal_add(shop: CheckoutClient, cart_id: str, product_id: str, key: str | None = None) -> None:
    """A piece with an engraving and a note, and metadata of the cart."""
    steps = [
        {
            "op": "add",
            "product_id": product_id,
            "quantity": 2,
            "unit_price": PRICE,
            "currency": "EUR",
            "options": {"engraving": SECRET},
            "metadata": {"note": SECRET},
        },
        {"op": "metadata", "metadata": {"name": SECRET}},
        {"op": "details", "shipping_address": {"name": SECRET, "country": "GB"}},
    ]
    headers = {} if key is None else {"idempotency-key": key}
    reply = await shop.carts.patch(f"/v1/carts/{cart_id}", json={"operations": steps}, headers=headers)
    assert reply.status_code == 200, reply.text


async def in_redis(shop: CheckoutClient, cart_id: str) -> str:
    """Everything that Redis has of the cart, and its partition's outbox."""
    layout = shop.store._layout  # noqa: SLF001  the test looks at the keys
    keys = layout.of_cart(cart_id)
    client = shop.store._client  # noqa: SLF001
    found = await client.execute_all(
        (
            ("HGETALL", keys.cart),
            ("HGETALL", keys.ops),
            ("XRANGE", layout.of_partition(keys.partition).outbox, "-", "+"),
        )
    )
    return repr(found)


async def in_postgres(shop: CheckoutClient, cart_id: str) -> str:
    """Everything that Postgres has of the cart and its orders."""
    found = []
    for table in ("carts", "orders", "checkouts", "cart_changes"):
        found += await shop.rows(f"SELECT t::text FROM {table} AS t WHERE cart_id = %s", (cart_id,))
    found += await shop.rows(
        "SELECT t::text FROM post_checkout_tasks AS t JOIN orders USING (order_id) WHERE cart_id = %s",
        (cart_id,),
    )
    found += await shop.rows("SELECT o::text FROM outbox AS o")
    return repr(found)


async def newest_state(shop: CheckoutClient, cart_id: str) -> State:
    """The last record of the cart in `carts`."""
    key = cart_id.encode()
    records = await records_of(shop.urls.kafka, CARTS.name, [partition_of(key, PARTITIONS)])
    return decode_state([record.value for record in records if record.key == key][-1])


async def changes_of(shop: CheckoutClient, cart_id: str) -> list[Change]:
    """The cart's records in `cart-changed`."""
    key = cart_id.encode()
    records = await records_of(shop.urls.kafka, CART_CHANGED.name, [partition_of(key, PARTITIONS)])
    return [decode_change(record.value) for record in records if record.key == key]


async def test_nothing_personal_is_left_of_a_cart(shop: CheckoutClient) -> None:
    cart_id, product_id = shop.cart("erased"), await shop.product("cup", 9)
    await personal_add(shop, cart_id, product_id)
    assert SECRET in await in_redis(shop, cart_id)

    certificate = await erase_cart(shop.http, cart_id)

    assert certificate["removed"]["redis"]["lines"] == 1
    assert {each["topic"] for each in certificate["expires"]} == {
        topic.name for topic in (CART_CHANGED, CARTS, ORDERS, CART_ABANDONED, DEAD_LETTERS)
    }
    assert SECRET not in await in_redis(shop, cart_id)
    assert SECRET not in await in_postgres(shop, cart_id)
    state = await newest_state(shop, cart_id)
    assert SECRET not in msgspec.json.encode(state).decode()
    assert state.erased == certificate["version"]
    assert await shop.quantities(cart_id) == {}


async def test_late_records_and_a_stale_redis_bring_nothing_back(shop: CheckoutClient) -> None:
    cart_id, product_id = shop.cart("stale"), await shop.product("pot", 9)
    await personal_add(shop, cart_id, product_id, key="first")
    await until(lambda: shop.row_has(cart_id, product_id), "row")
    old = await shop.store.read(cart_id)
    assert isinstance(old, StoredCart)
    row = await shop.rows("SELECT state::text FROM carts WHERE cart_id = %s", (cart_id,))
    old_state = msgspec.json.decode(row[0][0], type=State)
    late = await changes_of(shop, cart_id)

    await erase_cart(shop.http, cart_id)

    # As a replica that had stopped before: the old copy is Redis's again.
    await shop.forget(cart_id)
    assert await hydrated(shop.store, cart_id, old_state)
    assert SECRET in await in_redis(shop, cart_id)
    # As its outbox, or anti-entropy, would: the old records are published again.
    async with Publisher(shop.urls.kafka) as publisher:
        await publisher.publish_changes(late, PARTITIONS, source="/cartstream/tests")
    # Something newer of the same partition, folded after all of them, so that they have been read.
    await shop.add(cart_id, product_id, key="marker")
    await until(lambda: shop.row_has(cart_id, product_id), "row of the marker")

    state = await newest_state(shop, cart_id)
    assert SECRET not in msgspec.json.encode(state).decode()
    assert [line.quantity for line in state.content().lines.values()] == [1]
    assert SECRET not in await in_postgres(shop, cart_id)
    # What `sinks redis` does with the newest record of `carts`.
    await put_copies(shop.store, partition_of(cart_id.encode(), PARTITIONS), [(cart_id, state)])
    assert SECRET not in await in_redis(shop, cart_id)
    assert await shop.quantities(cart_id) == {product_id: 1}


class RowBeforeALoss:
    """Postgres; what it says of the erased cart arrives when the cart has changed and Redis has been lost."""

    def __init__(self, shop: CheckoutClient, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._shop = shop
        self._meanwhile = meanwhile
        self._is_lost = False

    async def transact(self, work: Any) -> Any:
        """What the work returns."""
        async with await psycopg.AsyncConnection.connect(self._shop.urls.postgres) as connection:
            found = await work(connection)
        if work.func is carts.look_up and not self._is_lost and next(iter(found.values())).state.erased:
            self._is_lost = True
            await self._meanwhile()
        return found


async def test_an_erasure_does_not_hide_what_came_after_it_when_redis_is_lost(shop: CheckoutClient) -> None:
    cart_id, product_id = shop.cart("goes-on"), await shop.product("jar", 9)
    await personal_add(shop, cart_id, product_id)
    await until(lambda: shop.row_has(cart_id, product_id), "row")

    async def go_on_and_lose() -> None:
        await shop.add(cart_id, product_id, key="after")
        await until(lambda: shop.row_has(cart_id, product_id), "row of the cart that goes on")
        await shop.forget(cart_id)  # lost and restored: nobody has asked for this cart since

    certificate = await Erasure(shop.store, RowBeforeALoss(shop, go_on_and_lose), wait_s=PATIENCE_S).erase(
        cart_id, None
    )
    assert certificate.complete
    assert await shop.quantities(cart_id) == {product_id: 1}
    assert SECRET not in await in_redis(shop, cart_id)


async def test_orders_stay_without_what_is_personal(shop: CheckoutClient) -> None:
    cart_id, product_id = shop.cart("buyer"), await shop.product("jug", 9)
    await personal_add(shop, cart_id, product_id)
    order = await shop.order(cart_id, email=EMAIL, metadata={"street": SECRET})
    await shop.execute(
        "INSERT INTO post_checkout_tasks (order_id, task, record, source_partition, source_offset) "
        "VALUES (%s, 'confirmation_mail', %s, 0, 0)",
        (order["order_id"], msgspec.json.encode(order).decode()),
    )

    certificate = await erase_cart(shop.http, cart_id)

    assert (certificate["removed"]["orders"], certificate["removed"]["mails"]) == (1, 1)
    (kept,) = await shop.orders(cart_id)
    assert (kept["email"], kept["metadata"], kept["version"]) == (None, {}, 2)
    assert (kept["totals"], kept["placed_at"]) == (order["totals"], order["placed_at"])
    (line,) = kept["lines"]
    assert (line["product_id"], line["quantity"], line["unit_price"]) == (product_id, 2, PRICE)
    assert (line["options"], line["metadata"]) == ({}, {})
    everything = await in_postgres(shop, cart_id)
    assert SECRET not in everything
    assert EMAIL not in everything

    async def record_without() -> OrderRecord | None:
        found = await shop.records(order["order_id"])
        return found[-1] if found and found[-1].version == 2 else None

    record = await until(record_without, "the newest record of the order")
    assert record is not None
    assert (record.email, record.metadata) == (None, {})
    cancelled = await shop.http.post(f"/v1/orders/{order['order_id']}/cancel")
    assert (cancelled.json()["version"], cancelled.json()["email"]) == (3, None)
    again = await erase_cart(shop.http, cart_id)
    assert (again["removed"]["orders"], again["removed"]["mails"]) == (0, 0)


async def test_a_mail_sink_that_is_behind_records_no_mail_of_an_erased_order(shop: CheckoutClient) -> None:
    cart_id, product_id = shop.cart("mailed"), await shop.product("can", 9)
    await shop.add(cart_id, product_id)
    order = await shop.order(cart_id, email=EMAIL)
    await erase_cart(shop.http, cart_id)
    tasks = await shop.rows(
        "SELECT record, outcome FROM post_checkout_tasks WHERE order_id = %s", (order["order_id"],)
    )
    assert tasks == [(None, "erased"), (None, "erased")]


async def test_a_checkout_elsewhere_stays_to_be_completed_without_what_is_personal(
    elsewhere: CheckoutClient,
) -> None:
    cart_id = elsewhere.cart("elsewhere")
    await personal_add(elsewhere, cart_id, "cup-elsewhere")
    opened = await elsewhere.check_out(cart_id)
    assert opened.status_code == 201, opened.text
    certificate = await erase_cart(elsewhere.http, cart_id)
    assert certificate["removed"]["checkouts"] == 1
    rows = await elsewhere.rows("SELECT snapshot::text, status FROM checkouts WHERE cart_id = %s", (cart_id,))
    snapshot = msgspec.json.decode(rows[0][0], type=PricedSnapshot)
    assert SECRET not in rows[0][0]
    assert (snapshot.lines[0].quantity, rows[0][1]) == (2, "expired")
    token = opened.json()["token"]
    completed = await elsewhere.http.post(
        f"/v1/carts/{cart_id}/checkout/{token}/complete", json={"order_id": "R-1"}
    )
    assert completed.status_code == 200, completed.text


async def test_a_cart_being_ordered_is_not_erased_meanwhile(shop: CheckoutClient) -> None:
    cart_id = shop.cart("locked")
    await shop.store.lock_checkout(cart_id, "somebody", 60_000)
    reply = await shop.http.delete(f"/v1/carts/{cart_id}", params={"erase": "true"})
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/checkout-in-progress")


@pytest.mark.parametrize("value", ["", "yes", "1"])
async def test_erase_is_true_or_false(shop: CheckoutClient, value: str) -> None:
    reply = await shop.http.delete(f"/v1/carts/{shop.cart('any')}", params={"erase": value})
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-parameter")


async def test_without_erase_the_cart_is_cleared_and_keeps_its_metadata(shop: CheckoutClient) -> None:
    cart_id = shop.cart("cleared")
    await personal_add(shop, cart_id, await shop.product("lid", 9))
    reply = await shop.carts.delete(f"/v1/carts/{cart_id}", params={"erase": "false"})
    assert (reply.json()["lines"], reply.json()["metadata"]) == ([], {"name": SECRET})


async def test_while_compaction_is_away_the_erasure_is_accepted_and_done_later(
    shop: CheckoutClient, agents: dict[str, AgentProcess]
) -> None:
    cart_id = shop.cart("later")
    await personal_add(shop, cart_id, await shop.product("mug", 9))
    agents["compaction"].kill()
    try:
        reply = await shop.http.delete(f"/v1/carts/{cart_id}", params={"erase": "true"}, timeout=60)
    finally:
        await agents["compaction"].start()
    assert reply.status_code == 202, reply.text
    assert reply.json()["waits_for"] == ["carts", "Postgres", "Redis"]

    async def row_is_erased() -> bool:
        rows = await shop.rows("SELECT state::text FROM carts WHERE cart_id = %s", (cart_id,))
        return bool(rows) and msgspec.json.decode(rows[0][0], type=State).erased == reply.json()["version"]

    await until(row_is_erased, "row erased")
    assert SECRET not in await in_postgres(shop, cart_id)
