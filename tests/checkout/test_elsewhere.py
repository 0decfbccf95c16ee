"""Checkout where another system keeps the orders: one token at a time, one outcome, however late it comes."""

import asyncio
from typing import Any

import httpx

from tests.checkout.checkout_client import PRICE, CheckoutClient
from tests.support.processes import AgentProcess
from tests.support.waiting import until


async def begin(shop: CheckoutClient, cart_id: str) -> dict[str, Any]:
    """The cart's checkout."""
    reply = await shop.check_out(cart_id, None)
    assert reply.status_code in {200, 201}, reply.text
    document: dict[str, Any] = reply.json()
    return document


async def end(shop: CheckoutClient, cart_id: str, token: str, how: str, **body: object) -> httpx.Response:
    """Complete or cancel it."""
    return await shop.http.post(f"/v1/carts/{cart_id}/checkout/{token}/{how}", json=body)


async def status(shop: CheckoutClient, token: str) -> str:
    """What has become of a checkout."""
    ((found,),) = await shop.rows("SELECT status FROM checkouts WHERE token = %s", (token,))
    return str(found)


async def run_out(shop: CheckoutClient, token: str) -> None:
    """Let its time be over, and wait until jobs has ended it."""
    await shop.execute("UPDATE checkouts SET expires_at = now() WHERE token = %s", (token,))

    async def expired() -> bool:
        return await status(shop, token) == "expired"

    await until(expired, "the checkout is over")


async def test_a_checkout_hands_out_the_details_and_its_order_keeps_them(elsewhere: CheckoutClient) -> None:
    cart = elsewhere.cart()
    await elsewhere.add(cart, "mug", 2)
    details = {"codes": ["SUMMER10"], "email": "ada@example.com"}
    assert (await elsewhere.http.patch(f"/v1/carts/{cart}/details", json=details)).status_code == 200
    opened = await begin(elsewhere, cart)
    assert opened["details"] == details
    completed = await end(elsewhere, cart, opened["token"], "complete")
    assert (completed.status_code, completed.json()["details"]) == (200, details)
    (order,) = await elsewhere.orders(cart)
    assert (order["email"], order["details"]) == ("ada@example.com", details)


async def test_a_checkout_hands_out_a_token_and_the_lines(elsewhere: CheckoutClient) -> None:
    cart = elsewhere.cart()
    seen = await elsewhere.add(cart, "mug", 2)
    reply = await elsewhere.check_out(cart, None)
    assert reply.status_code == 201, reply.text
    checkout = reply.json()
    assert (checkout["cart_id"], checkout["status"], checkout["order_id"]) == (cart, "open", None)
    assert (checkout["version"], checkout["currency"]) == (seen["version"], "EUR")
    assert [(line["line_id"], line["quantity"], line["unit_price"]) for line in checkout["lines"]] == [
        ("mug", 2, PRICE)
    ]
    assert checkout["totals"]["total"] == 2 * PRICE
    assert await elsewhere.quantities(cart) == {"mug": 2}


async def test_a_checkout_is_opened_only_at_the_version_that_was_shown(elsewhere: CheckoutClient) -> None:
    cart = elsewhere.cart()
    shown = (await elsewhere.add(cart, "mug"))["version"]
    now = (await elsewhere.add(cart, "mug"))["version"]
    for is_open in (False, True):
        refused = await elsewhere.check_out_if(cart, "if-match", f'"{shown}"')
        assert (refused.status_code, refused.json()["current"]) == (412, now)
        opened = await elsewhere.check_out_if(cart, "if-match", f'"{now}"')
        assert opened.status_code == (200 if is_open else 201), opened.text


async def test_twenty_checkouts_at_once_are_one_token(elsewhere: CheckoutClient) -> None:
    cart = elsewhere.cart()
    await elsewhere.add(cart, "mug")
    replies = await asyncio.gather(*(elsewhere.check_out(cart, None) for _ in range(20)))
    assert sorted({reply.status_code for reply in replies}) == [200, 201]
    assert [reply.status_code for reply in replies].count(201) == 1
    assert len({reply.json()["token"] for reply in replies}) == 1


async def test_completing_takes_what_was_sold_out_of_the_cart_once(elsewhere: CheckoutClient) -> None:
    cart = elsewhere.cart()
    await elsewhere.add(cart, "mug", 2)
    token = (await begin(elsewhere, cart))["token"]
    await elsewhere.add(cart, "mug", 3)
    await elsewhere.add(cart, "tea")
    replies = await asyncio.gather(
        *(end(elsewhere, cart, token, "complete", order_id="A-17") for _ in range(4))
    )
    replies.append(await end(elsewhere, cart, token, "complete"))
    assert {reply.status_code for reply in replies} == {200}
    assert {(reply.json()["status"], reply.json()["order_id"]) for reply in replies} == {
        ("completed", "A-17")
    }
    assert await elsewhere.quantities(cart) == {"mug": 3, "tea": 1}
    ((orders,),) = await elsewhere.rows("SELECT count(*) FROM orders WHERE cart_id = %s", (cart,))
    assert orders == 1
    other = await end(elsewhere, cart, token, "complete", order_id="B-1")
    assert (other.status_code, other.json()["type"]) == (409, "/problems/checkout-closed")
    late = await end(elsewhere, cart, token, "cancel")
    assert (late.status_code, late.json()["order_id"]) == (409, "A-17")
    await elsewhere.until_settled()


async def test_after_a_cancel_the_cart_can_be_checked_out_again(elsewhere: CheckoutClient) -> None:
    cart = elsewhere.cart()
    await elsewhere.add(cart, "mug", 2)
    token = (await begin(elsewhere, cart))["token"]
    for _ in range(2):
        reply = await end(elsewhere, cart, token, "cancel")
        assert (reply.status_code, reply.json()["status"]) == (200, "cancelled")
    refused = await end(elsewhere, cart, token, "complete")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/checkout-closed")
    assert (await begin(elsewhere, cart))["token"] != token
    assert await elsewhere.quantities(cart) == {"mug": 2}


async def test_a_checkout_that_nobody_completes_in_time_makes_room_for_another(
    elsewhere: CheckoutClient,
) -> None:
    cart = elsewhere.cart()
    await elsewhere.add(cart, "mug", 2)
    token = (await begin(elsewhere, cart))["token"]
    await run_out(elsewhere, token)
    assert (await begin(elsewhere, cart))["token"] != token


async def test_an_overdue_checkout_makes_room_even_while_jobs_is_away(
    elsewhere: CheckoutClient, agents: dict[str, AgentProcess]
) -> None:
    cart = elsewhere.cart()
    await elsewhere.add(cart, "mug", 2)
    token = (await begin(elsewhere, cart))["token"]
    await asyncio.to_thread(agents["jobs"].kill)
    await elsewhere.execute("UPDATE checkouts SET expires_at = now() WHERE token = %s", (token,))
    assert await status(elsewhere, token) == "open"
    assert (await begin(elsewhere, cart))["token"] != token
    assert await status(elsewhere, token) == "expired"
    agents["jobs"].launch()
    await asyncio.to_thread(agents["jobs"].wait_ready)


async def test_a_late_complete_still_takes_what_was_sold_out_of_the_cart(elsewhere: CheckoutClient) -> None:
    cart = elsewhere.cart()
    await elsewhere.add(cart, "mug", 2)
    await elsewhere.add(cart, "tea", 2)
    await elsewhere.add(cart, "set", 2)
    token = (await begin(elsewhere, cart))["token"]
    await run_out(elsewhere, token)
    await elsewhere.add(cart, "mug", 1)
    reply = await elsewhere.carts.put(f"/v1/carts/{cart}/items/set", json={"quantity": 9})
    assert reply.status_code == 200
    assert (await end(elsewhere, cart, token, "complete")).status_code == 200
    assert await elsewhere.quantities(cart) == {"mug": 1, "set": 9}
    assert await status(elsewhere, token) == "completed"


async def test_two_checkouts_that_are_both_completed_take_no_piece_twice(elsewhere: CheckoutClient) -> None:
    cart = elsewhere.cart()
    await elsewhere.add(cart, "mug", 2)
    first = (await begin(elsewhere, cart))["token"]
    await run_out(elsewhere, first)
    await elsewhere.add(cart, "mug", 3)
    second = (await begin(elsewhere, cart))["token"]
    replies = await asyncio.gather(
        end(elsewhere, cart, first, "complete"), end(elsewhere, cart, second, "complete")
    )
    assert {reply.status_code for reply in replies} == {200}
    await elsewhere.until_settled()
    assert await elsewhere.quantities(cart) == {}
    await elsewhere.add(cart, "mug", 1)
    assert await elsewhere.quantities(cart) == {"mug": 1}


async def test_what_is_completed_while_the_cart_has_been_cleared_changes_nothing_more(
    elsewhere: CheckoutClient,
) -> None:
    cart = elsewhere.cart()
    await elsewhere.add(cart, "mug", 2)
    token = (await begin(elsewhere, cart))["token"]
    await elsewhere.carts.delete(f"/v1/carts/{cart}")
    await elsewhere.add(cart, "mug", 1)
    assert (await end(elsewhere, cart, token, "complete")).status_code == 200
    assert await elsewhere.quantities(cart) == {"mug": 1}


async def test_orders_that_are_kept_elsewhere_are_cancelled_there(elsewhere: CheckoutClient) -> None:
    reply = await elsewhere.http.post("/v1/orders/o_1/cancel")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/orders-elsewhere")
    nothing = await elsewhere.check_out(elsewhere.cart(), None)
    assert (nothing.status_code, nothing.json()["type"]) == (409, "/problems/cart-empty")
    wrong = await end(elsewhere, elsewhere.cart(), "o_" + "0" * 32, "complete")
    assert (wrong.status_code, wrong.json()["type"]) == (404, "/problems/checkout-not-found")
