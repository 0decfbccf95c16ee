"""A session's id changes without a login: its cart goes into the next session's, and in the end a user's."""

import asyncio
from itertools import pairwise

import pytest

from tests.merges.merge_client import MergeClient
from tests.support.waiting import until


async def follow(client: MergeClient, into: str, guest: str) -> None:
    """Merge, as a shop does: where the next cart has gone on already, into the one that it has become."""
    while (reply := await client.ask(into, guest)).status_code not in {200, 202}:
        if reply.status_code == 409:
            into = reply.json()["into"]
        else:
            assert reply.status_code == 503, reply.text
            await asyncio.sleep(0.1)


async def test_a_cart_goes_from_session_to_session_and_into_the_users(client: MergeClient) -> None:
    user = client.user()
    carts = [client.guest(number) for number in range(3)] + [user]
    for number, cart in enumerate(carts):
        await client.add(cart, "mug", 3**number)
        await client.add(cart, f"only-{number}")
    await client.detail(carts[0], email="ada@example.org", codes=["FIRST"])
    await client.detail(carts[1], codes=["SECOND"])
    for guest, into in pairwise(carts):
        merge = await client.merge(into, guest)
        assert (merge["guest_cart_id"], merge["cart_id"]) == (guest, into)
        read = await client.read(guest)
        assert (read["status"], read["merged_into"], read["lines"]) == ("merged", into, [])
        refused = await client.try_to_add(guest, "late")
        assert (refused.status_code, refused.json()["into"]) == (409, into)
    await client.until_settled()
    assert await client.quantities(user) == {"mug": 40, **{f"only-{number}": 1 for number in range(4)}}
    assert (await client.read(user))["details"] == {"email": "ada@example.org", "codes": ["SECOND"]}


@pytest.mark.parametrize(("strategy", "expected"), [("sum", 10), ("max", 7), ("keep", 1)])
async def test_strategies_hold_along_the_way(client: MergeClient, strategy: str, expected: int) -> None:
    user, first, second = client.user(), client.guest("first"), client.guest("second")
    for cart, quantity in ((first, 7), (second, 2), (user, 1)):
        await client.add(cart, "mug", quantity)
    await client.merge(second, first, strategy=strategy)
    await client.merge(user, second, strategy=strategy)
    await client.until_settled()
    assert await client.quantities(user) == {"mug": expected}


async def test_each_step_may_be_asked_for_again_in_any_order(client: MergeClient) -> None:
    carts = [client.guest("first"), client.guest("second"), client.user()]
    await client.add(carts[0], "mug", 2)
    steps = list(pairwise(carts))
    begun = [await client.merge(into, guest) for guest, into in steps]
    for number in (1, 0, 0, 1):
        guest, into = steps[number]
        again = await client.ask(into, guest)
        assert (again.status_code, again.json()["merge_id"]) == (200, begun[number]["merge_id"])
    await client.until_settled()
    assert await client.quantities(carts[-1]) == {"mug": 2}


async def test_all_steps_at_once(client: MergeClient) -> None:
    """A step that begins late finds that the next session's cart has gone on, and follows it."""
    carts = [client.guest(number) for number in range(4)] + [client.user()]
    for number, cart in enumerate(carts):
        await client.add(cart, "mug", 3**number)
    steps = [pair for pair in pairwise(carts) for _ in range(2)]
    await asyncio.gather(*(follow(client, into, guest) for guest, into in reversed(steps)))
    await client.until_settled()
    assert await client.quantities(carts[-1]) == {"mug": 121}
    assert [await client.quantities(cart) for cart in carts[:-1]] == 4 * [{}]


async def test_a_step_that_comes_too_late_is_told_where_the_cart_has_gone(client: MergeClient) -> None:
    user, first, second = client.user(), client.guest("first"), client.guest("second")
    await client.add(first, "mug", 2)
    await client.merge(user, second)
    refused = await client.ask(second, first)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/cart-merged")
    assert refused.json()["into"] == user
    await client.merge(refused.json()["into"], first)
    assert await client.quantities(user) == {"mug": 2}


async def test_there_is_no_way_back(client: MergeClient) -> None:
    first, second, third = (client.guest(number) for number in range(3))
    await client.add(first, "mug", 2)
    await client.merge(second, first)
    await client.merge(third, second)
    for into, guest, goes_to in ((first, second, None), (first, third, second), (second, third, third)):
        refused = await client.ask(into, guest)
        assert refused.status_code == 409, (into, guest, refused.text)
        assert refused.json()["into"] == (goes_to or third)
    await client.until_settled()
    assert await client.quantities(third) == {"mug": 2}


async def test_of_two_carts_that_go_into_each_other_one_does(client: MergeClient) -> None:
    for attempt in range(5):
        one, other = client.guest(f"{attempt}-one"), client.guest(f"{attempt}-other")
        await client.add(one, "mug", 1)
        await client.add(other, "mug", 2)
        replies = await asyncio.gather(client.ask(one, other), client.ask(other, one))
        codes = sorted(reply.status_code for reply in replies)
        assert codes[0] in {200, 202}, codes
        assert codes[1] == 409, codes
        await client.until_settled()
        left = [await client.quantities(cart) for cart in (one, other)]
        assert sorted(left, key=len) == [{}, {"mug": 3}]


async def test_a_late_write_goes_all_the_way(client: MergeClient) -> None:
    """A failover has taken the claim of the first cart back: here it is taken out of Redis by hand."""
    user, first, second = client.user(), client.guest("first"), client.guest("second")
    await client.add(first, "mug", 1)
    await client.merge(second, first)
    await client.merge(user, second)
    await client.until_settled()
    await client.lose_claim(first)
    # In one write: after it the merge may go on at any time, and refuse another.
    late = [
        {"op": "add", "product_id": name, "quantity": quantity, "unit_price": 100, "currency": "EUR"}
        for name, quantity in (("mug", 1), ("late", 2))
    ]
    reply = await client.http.patch(f"/v1/carts/{first}", json={"operations": late})
    assert reply.status_code == 200, reply.text

    async def has_followed() -> bool:
        return await client.quantities(user) == {"mug": 2, "late": 2}

    await until(has_followed, "the late pieces follow")
    await client.until_settled()
    assert await client.quantities(user) == {"mug": 2, "late": 2}
    assert (await client.quantities(first), await client.quantities(second)) == ({}, {})


async def test_what_waits_for_a_checkout_follows_what_went_before_it(client: MergeClient) -> None:
    user, first, second = client.user(), client.guest("first"), client.guest("second")
    await client.add(first, "mug", 2)
    opened = await client.http.post(f"/v1/carts/{first}/checkout")
    assert opened.status_code == 201, opened.text
    assert (await client.ask(second, first)).status_code == 202
    await client.add(second, "shirt", 1)
    await client.merge(user, second)
    assert await client.quantities(user) == {"shirt": 1}
    cancelled = await client.http.post(f"/v1/carts/{first}/checkout/{opened.json()['token']}/cancel")
    assert cancelled.status_code == 200, cancelled.text

    async def has_followed() -> bool:
        return await client.quantities(user) == {"shirt": 1, "mug": 2}

    await until(has_followed, "the pieces that were not paid for follow")
    await client.until_settled()
    assert (await client.quantities(first), await client.quantities(second)) == ({}, {})


async def test_a_cart_that_got_another_ones_lines_is_ordered(client: MergeClient) -> None:
    first, second, user = client.guest("first"), client.guest("second"), client.user()
    await client.add(first, "mug", 2)
    await client.merge(second, first)
    opened = await client.http.post(f"/v1/carts/{second}/checkout")
    assert opened.status_code == 201, opened.text
    await client.add(second, "shirt", 1)
    path = f"/v1/carts/{second}/checkout/{opened.json()['token']}/complete"
    assert (await client.http.post(path)).status_code == 200
    await client.merge(user, second)
    await client.until_settled()
    assert await client.quantities(user) == {"shirt": 1}
