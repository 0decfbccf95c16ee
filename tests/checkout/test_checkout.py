"""Checkout where orders are kept here: what is sold was in stock, what is ordered leaves the cart, once."""

import asyncio
import re

import msgspec
import pytest

from tests.checkout.checkout_client import PRICE, CheckoutClient
from tests.support.waiting import until
from topics.records import OrderRecord, OrderStatus


async def test_an_order_has_what_the_cart_had_and_the_cart_is_empty_afterwards(shop: CheckoutClient) -> None:
    cart, product = shop.cart(), await shop.product("mug", 5)
    await shop.add(cart, product, 2)
    reply = await shop.check_out(
        cart, email="a@example.com", metadata={"gift": True}, expected_total=2 * PRICE
    )
    assert reply.status_code == 201, reply.text
    order = reply.json()
    assert reply.headers["location"] == f"/v1/orders/{order['order_id']}"
    assert (order["cart_id"], order["seq"], order["status"], order["version"]) == (cart, 1, "placed", 1)
    assert [(line["product_id"], line["name"], line["quantity"]) for line in order["lines"]] == [
        (product, "mug", 2)
    ]
    assert order["totals"] == {"subtotal": 2 * PRICE, "discount": 0, "tax": 0, "total": 2 * PRICE}
    assert (order["email"], order["metadata"], order["currency"]) == ("a@example.com", {"gift": True}, "EUR")
    assert await shop.quantities(cart) == {}
    assert await shop.stock(product) == 3
    read = await shop.http.get(reply.headers["location"])
    assert read.json() == order
    assert await shop.orders(cart) == [order]
    await shop.until_settled()


async def test_each_stage_of_a_checkout_is_timed(shop: CheckoutClient) -> None:
    cart, product = shop.cart(), await shop.product("mug", 5)
    await shop.add(cart, product)
    await shop.order(cart)
    metrics = (await shop.http.get("/metrics")).text
    timed = re.findall(
        r'^cartstream_gateway_checkout_stage_seconds_count{stage="(\w+)"}', metrics, re.MULTILINE
    )
    assert set(timed) == {"replay", "lock", "snapshot", "price", "order", "stock", "subtract", "publish"}


async def test_an_order_has_the_details_of_its_cart_and_its_e_mail_unless_another_is_named(
    shop: CheckoutClient,
) -> None:
    cart, product = shop.cart(), await shop.product("mug", 5)
    details = {
        "codes": ["SUMMER10"],
        "email": "ada@example.com",
        "locale": "en-GB",
        "shipping_address": {"name": "Ada", "lines": ["1 Dorset Street"], "country": "GB"},
        "shipping_method": "express",
    }
    await shop.add(cart, product, 1)
    named = await shop.carts.patch(f"/v1/carts/{cart}/details", json=details)
    assert named.status_code == 200, named.text
    first = await shop.order(cart)
    assert (first["email"], first["details"]) == ("ada@example.com", details)
    (record,) = await until_found(shop, first["order_id"])
    assert (record.email, record.details.codes) == ("ada@example.com", ("SUMMER10",))

    await shop.add(cart, product, 1)
    second = await shop.order(cart, "k2", email="gift@example.com")
    assert (second["email"], second["details"]) == ("gift@example.com", details)
    assert (await shop.carts.get(f"/v1/carts/{cart}")).json()["details"] == details


async def test_a_cart_is_ordered_only_at_the_version_that_was_shown(shop: CheckoutClient) -> None:
    cart, product = shop.cart(), await shop.product("mug", 5)
    shown = (await shop.add(cart, product))["version"]
    now = (await shop.add(cart, product))["version"]
    for condition, tags in (
        ("if-match", f'"{shown}"'),
        ("if-match", '"*"'),
        ("if-none-match", "*"),
        ("if-none-match", f'"x", W/"{now}"'),
    ):
        refused = await shop.check_out_if(cart, condition, tags)
        assert (refused.status_code, refused.json()["type"]) == (412, "/problems/precondition-failed"), tags
        assert (refused.headers["etag"], refused.json()["current"]) == (f'"{now}"', now)
    placed = await shop.check_out_if(cart, "if-match", f'"{shown}", "{now}.suffix"')
    assert placed.status_code == 201, placed.text
    # A retry is told of its order, although the cart is another one now.
    retried = await shop.check_out_if(cart, "if-match", f'"{now}"')
    assert (retried.status_code, retried.json()) == (201, placed.json())


async def until_found(shop: CheckoutClient, order_id: str) -> list[OrderRecord]:
    """The records of an order in Kafka, once there are any."""

    async def found() -> list[OrderRecord]:
        return await shop.records(order_id)

    return await until(found, "the order's record")


async def test_of_fifty_buyers_of_ten_pieces_ten_buy_and_forty_hear_what_is_available(
    shop: CheckoutClient,
) -> None:
    product = await shop.product("rare", 10)
    carts = [shop.cart(number) for number in range(50)]
    await asyncio.gather(*(shop.add(cart, product) for cart in carts))

    replies = await asyncio.gather(*(shop.check_out(cart) for cart in carts))

    assert sorted(reply.status_code for reply in replies) == [201] * 10 + [409] * 40
    for reply in replies:
        if reply.status_code == 409:
            assert reply.json()["type"] == "/problems/cart-outdated"
            assert reply.json()["differences"] == [
                {
                    "line_id": product,
                    "code": "out_of_stock",
                    "unit_price": PRICE,
                    "available": 0,
                    "currency": "EUR",
                }
            ]
    assert await shop.stock(product) == 0
    for cart, reply in zip(carts, replies, strict=True):
        assert await shop.quantities(cart) == ({} if reply.status_code == 201 else {product: 1})


async def test_adds_during_a_checkout_survive_it(shop: CheckoutClient) -> None:
    cart, product, other = shop.cart(), await shop.product("a", 10_000), await shop.product("b", 10_000)
    await shop.add(cart, product, 3)

    async def keep_adding() -> int:
        added = 0
        while not done.is_set():
            await shop.add(cart, product)
            await shop.add(cart, other)
            added += 1
            await asyncio.sleep(0.1)  # an order may take many seconds, and a line holds 999 pieces
        return added

    done = asyncio.Event()
    adding = asyncio.create_task(keep_adding())
    orders = [await shop.order(cart, f"k-{number}") for number in range(3)]
    done.set()
    added = await adding
    await shop.until_settled()

    bought = dict.fromkeys((product, other), 0)
    for order in orders:
        for line in order["lines"]:
            bought[line["product_id"]] += line["quantity"]
    left = await shop.quantities(cart)
    assert bought[product] + left.get(product, 0) == 3 + added
    assert bought[other] + left.get(other, 0) == added
    assert [order["seq"] for order in orders] == [1, 2, 3]


async def test_a_line_that_was_set_during_a_checkout_stays_as_it_was_set(shop: CheckoutClient) -> None:
    cart, product = shop.cart(), await shop.product("a", 100)
    await shop.add(cart, product, 5)
    order = await shop.order(cart, "first")
    assert order["lines"][0]["quantity"] == 5
    await shop.add(cart, product, 2)
    reply = await shop.carts.put(f"/v1/carts/{cart}/items/{product}", json={"quantity": 7})
    assert reply.status_code == 200, reply.text
    again = await shop.order(cart, "second")
    assert again["lines"][0]["quantity"] == 7
    assert await shop.quantities(cart) == {}


async def test_a_double_submit_and_five_retries_are_one_order(shop: CheckoutClient) -> None:
    cart, product = shop.cart(), await shop.product("a", 100)
    await shop.add(cart, product, 4)
    twice = await asyncio.gather(*(shop.check_out(cart, "same") for _ in range(2)))
    retries = [await shop.check_out(cart, "same") for _ in range(5)]
    replies = [*twice, *retries]
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.json()["order_id"] for reply in replies}) == 1
    assert all(reply.headers.get("idempotency-replayed") == "true" for reply in retries)
    assert await shop.stock(product) == 96
    assert len(await shop.orders(cart)) == 1


async def test_one_key_sent_five_times_at_once_buys_the_last_pieces_once(shop: CheckoutClient) -> None:
    for number in range(8):
        cart, product = shop.cart(number), await shop.product(f"last-{number}", 2)
        await shop.add(cart, product, 2)
        replies = await asyncio.gather(*(shop.check_out(cart, "same") for _ in range(5)))
        assert {reply.status_code for reply in replies} == {201}, [reply.text for reply in replies]
        assert len({reply.json()["order_id"] for reply in replies}) == 1
        assert await shop.stock(product) == 0


async def test_two_devices_get_one_order_between_them(shop: CheckoutClient) -> None:
    product = await shop.product("a", 100)
    for number in range(5):
        cart = shop.cart(number)
        await shop.add(cart, product, 2)
        replies = await asyncio.gather(shop.check_out(cart, "phone"), shop.check_out(cart, "laptop"))
        assert sorted(reply.status_code for reply in replies) == [201, 409]
        refused = next(reply for reply in replies if reply.status_code == 409)
        assert refused.json()["type"] in {"/problems/checkout-in-progress", "/problems/cart-empty"}
        assert len(await shop.orders(cart)) == 1
    assert await shop.stock(product) == 90


async def test_a_key_places_another_order_only_on_another_cart(shop: CheckoutClient) -> None:
    product = await shop.product("a", 100)
    first, second = shop.cart("1"), shop.cart("2")
    for cart in (first, second):
        await shop.add(cart, product)
    one, two = await shop.order(first, "k"), await shop.order(second, "k")
    assert one["order_id"] != two["order_id"]
    reused = await shop.check_out(first, "k", email="other@example.com")
    assert (reused.status_code, reused.json()["type"]) == (422, "/problems/idempotency-key-reused")


async def test_a_changed_price_is_told_line_by_line_and_accepted_by_setting_the_line(
    shop: CheckoutClient,
) -> None:
    cart = shop.cart()
    dearer, gone = await shop.product("dearer", 9), await shop.product("gone", 9)
    short, fine = await shop.product("short", 2), await shop.product("fine", None)
    await shop.add(cart, "never-there")
    for product in (dearer, gone, fine):
        await shop.add(cart, product)
    await shop.add(cart, short, 3)
    await shop.product("dearer", 9, 2499)
    await shop.product("gone", 9, active=False)

    reply = await shop.check_out(cart)

    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/cart-outdated")
    assert {
        difference["line_id"]: (difference["code"], difference["unit_price"], difference["available"])
        for difference in reply.json()["differences"]
    } == {
        dearer: ("price_changed", 2499, 9),
        gone: ("product_inactive", PRICE, 0),
        short: ("short_stock", PRICE, 2),
        "never-there": ("product_unknown", None, None),
    }
    assert [await shop.stock(product) for product in (dearer, gone, short)] == [9, 9, 2]
    await shop.carts.patch(
        f"/v1/carts/{cart}",
        json={
            "operations": [
                {"op": "remove", "line_id": dearer},
                {"op": "remove", "line_id": gone},
                {"op": "remove", "line_id": "never-there"},
                {"op": "set", "line_id": short, "quantity": 2},
            ]
        },
    )
    await shop.add(cart, dearer, unit_price=2499)
    order = await shop.order(cart)
    assert {line["line_id"]: (line["quantity"], line["unit_price"]) for line in order["lines"]} == {
        dearer: (1, 2499),
        short: (2, PRICE),
        fine: (1, PRICE),
    }


async def test_an_order_that_would_not_come_to_the_expected_total_is_not_placed(shop: CheckoutClient) -> None:
    cart, product = shop.cart(), await shop.product("a", 9)
    await shop.add(cart, product)
    reply = await shop.check_out(cart, expected_total=PRICE - 1)
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/cart-outdated")
    assert (reply.json()["differences"], reply.json()["total"]) == ([], PRICE)
    assert await shop.stock(product) == 9
    assert (await shop.order(cart, expected_total=PRICE))["totals"]["total"] == PRICE


async def test_cancelling_gives_the_pieces_back_once_and_leaves_the_cart_alone(shop: CheckoutClient) -> None:
    cart, product = shop.cart(), await shop.product("a", 9)
    free = await shop.product("free", None)
    await shop.add(cart, product, 3)
    await shop.add(cart, free, 2)
    order = await shop.order(cart)
    assert await shop.stock(product) == 6
    cancels = await asyncio.gather(
        *(shop.http.post(f"/v1/orders/{order['order_id']}/cancel") for _ in range(5))
    )
    assert {reply.status_code for reply in cancels} == {200}
    assert len({reply.content for reply in cancels}) == 1
    cancelled = cancels[0].json()
    assert (cancelled["status"], cancelled["version"]) == ("cancelled", 2)
    assert cancelled["cancelled_at"] is not None
    assert await shop.stock(product) == 9
    assert await shop.stock(free) is None
    assert await shop.quantities(cart) == {}
    assert await shop.orders(cart) == [cancelled]
    assert (await shop.check_out(cart)).json()["order_id"] == order["order_id"]


async def test_kafka_hears_of_an_order_and_of_its_cancellation(shop: CheckoutClient) -> None:
    cart, product = shop.cart(), await shop.product("a", 9)
    await shop.add(cart, product)
    order = await shop.order(cart, email="a@example.com")
    await shop.http.post(f"/v1/orders/{order['order_id']}/cancel")

    async def both() -> list[OrderRecord]:
        found = await shop.records(order["order_id"])
        return found if len(found) > 1 else []

    placed, cancelled = await until(both, "two records")
    assert msgspec.to_builtins(placed) == order
    assert (placed.status, placed.version) == (OrderStatus.PLACED, 1)
    assert (cancelled.status, cancelled.version) == (OrderStatus.CANCELLED, 2)
    assert (cancelled.lines, cancelled.email) == (placed.lines, "a@example.com")


@pytest.mark.parametrize(
    ("headers", "body", "status", "kind"),
    [
        ({}, {}, 400, "idempotency-key-missing"),
        ({"idempotency-key": "!x"}, {}, 400, "invalid-header"),
        ({"idempotency-key": "k"}, {"email": "nobody"}, 422, "invalid-body"),
        ({"idempotency-key": "k"}, {"email": "a@example.org\n"}, 422, "invalid-body"),
        ({"idempotency-key": "k"}, {"email": "a\x01@example.org"}, 422, "invalid-body"),
        ({"idempotency-key": "k"}, {"expected_total": -1}, 422, "invalid-body"),
        ({"idempotency-key": "k"}, {"other": 1}, 422, "invalid-body"),
        ({"idempotency-key": "k"}, {"metadata": {"a": "x" * 20_000}}, 422, "invalid-body"),
        ({"idempotency-key": "k"}, {}, 409, "cart-empty"),
    ],
)
async def test_what_cannot_be_checked_out_is_refused(
    shop: CheckoutClient, headers: dict[str, str], body: dict[str, object], status: int, kind: str
) -> None:
    reply = await shop.http.post(f"/v1/carts/{shop.cart()}/checkout", json=body, headers=headers)
    assert (reply.status_code, reply.json()["type"]) == (status, f"/problems/{kind}")


async def test_what_is_not_there_is_not_found(shop: CheckoutClient) -> None:
    nowhere = [
        ("GET", "/v1/orders/o_nothing", "order-not-found"),
        ("POST", "/v1/orders/o_nothing/cancel", "order-not-found"),
        ("POST", f"/v1/carts/{shop.cart()}/checkout/o_{'0' * 32}/complete", "checkout-not-found"),
        ("POST", f"/v1/carts/{shop.cart()}/checkout/o_{'0' * 32}/cancel", "checkout-not-found"),
    ]
    for method, path, kind in nowhere:
        reply = await shop.http.request(method, path)
        assert (reply.status_code, reply.json()["type"]) == (404, f"/problems/{kind}")
    assert await shop.orders(shop.cart()) == []


@pytest.mark.parametrize("number", ["x", "", "0", "-1", "2147483648", "0" * 12 + "9" * 20, "9" * 5000])
async def test_what_is_no_number_of_an_order_is_no_cursor(shop: CheckoutClient, number: str) -> None:
    for name in ("cursor", "limit"):
        bad = await shop.http.get(f"/v1/carts/{shop.cart()}/orders", params={name: number})
        assert (bad.status_code, bad.json()["type"]) == (400, "/problems/invalid-parameter")


async def test_a_cart_that_redis_lacks_is_ordered_from_its_row(shop: CheckoutClient) -> None:
    cart, product = shop.cart(), await shop.product("a", 9)
    await shop.add(cart, product, 2)
    await until(lambda: shop.row_has(cart, product), "the row")
    await shop.forget(cart)
    order = await shop.order(cart)
    assert [line["quantity"] for line in order["lines"]] == [2]
    assert await shop.quantities(cart) == {}
