"""A guest logs in: the lines go along once, and the guest's cart names its successor."""

import asyncio

from carts.ids import is_merge_id
from tests.merges.merge_client import MergeClient
from tests.support.live_streams import stream_of
from tests.support.waiting import until


async def test_the_lines_go_along_and_the_guests_cart_names_its_successor(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(user, "mug", 1)
    await client.add(guest, "mug", 2)
    await client.add(guest, "shirt", 3)
    merge = await client.merge(user, guest)
    assert is_merge_id(merge["merge_id"])
    assert merge["lines"] == {"done": 2, "total": 2}
    assert (merge["warnings"], merge["left"]) == ([], [])
    assert await client.quantities(user) == {"mug": 3, "shirt": 3}
    read = await client.read(guest)
    assert (read["status"], read["merged_into"], read["lines"]) == ("merged", user, [])
    refused = await client.try_to_add(guest, "late")
    assert (refused.status_code, refused.json()["into"]) == (409, user)
    await client.until_settled()


async def test_details_that_the_user_lacks_go_along_with_lines_or_alone(client: MergeClient) -> None:
    user, guest, other = client.user(), client.guest(), client.guest("other")
    await client.add(user, "mug", 1)
    await client.add(guest, "mug", 2)
    await client.detail(user, email="ada@example.org")
    await client.detail(guest, email="guest@example.org", codes=["X"])
    await client.detail(other, locale="en-GB", codes=["Y"])
    await client.merge(user, guest)
    await client.merge(user, other)
    read = await client.read(user)
    assert read["details"] == {"codes": ["X"], "email": "ada@example.org", "locale": "en-GB"}
    assert [line["quantity"] for line in read["lines"]] == [3]
    await client.until_settled()


async def test_the_streams_of_both_carts_tell_of_the_merge(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(user, "mug", 1)
    await client.add(guest, "mug", 2)
    async with stream_of(client.http, user) as users, stream_of(client.http, guest) as guests:
        await client.merge(user, guest)
        await users.until(quantity=3)
        event = await guests.until_kind("merged")
        assert (event.data["merged_into"], event.data["lines"]) == (user, [])


async def test_merging_again_changes_nothing(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(guest, "mug", 2)
    first = await client.merge(user, guest)
    again = await client.ask(user, guest, strategy="max")
    assert again.status_code == 200
    assert again.headers["location"] == f"/v1/merges/{first['merge_id']}"
    assert again.json() == first
    with_key = await client.http.post(
        f"/v1/carts/{user}/merge", json={"guest": guest}, headers={"idempotency-key": "k"}
    )
    assert with_key.json() == first
    assert await client.quantities(user) == {"mug": 2}


async def test_the_same_merge_five_times_at_once(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    for name in range(5):
        await client.add(guest, f"p{name}", 1 + name)
    merges = await asyncio.gather(*(client.merge(user, guest) for _ in range(5)))
    assert len({merge["merge_id"] for merge in merges}) == 1
    await client.until_settled()
    assert await client.quantities(user) == {f"p{name}": 1 + name for name in range(5)}
    assert await client.quantities(guest) == {}


async def test_three_devices_at_once(client: MergeClient) -> None:
    user, guests = client.user(), [client.guest(device) for device in range(3)]
    for device, guest in enumerate(guests):
        await client.add(guest, "mug", 4**device)
        await client.add(guest, f"own-{device}", 1)
    await asyncio.gather(*(client.merge(user, guest) for guest in guests))
    await client.until_settled()
    assert await client.quantities(user) == {"mug": 21, "own-0": 1, "own-1": 1, "own-2": 1}


async def test_three_devices_at_once_by_the_larger_number(client: MergeClient) -> None:
    user, guests = client.user(), [client.guest(device) for device in range(3)]
    for device, guest in enumerate(guests):
        await client.add(guest, "mug", 3 + device)
    await asyncio.gather(*(client.merge(user, guest, strategy="max") for guest in guests))
    await client.until_settled()
    assert await client.quantities(user) == {"mug": 5}


async def test_strategies(client: MergeClient) -> None:
    for strategy, expected in (("sum", 5), ("max", 3), ("keep", 2)):
        user, guest = client.user(strategy), client.guest(strategy)
        await client.add(user, "mug", 2)
        await client.add(guest, "mug", 3)
        await client.add(guest, "shirt", 1)
        await client.merge(user, guest, strategy=strategy)
        assert await client.quantities(user) == {"mug": expected, "shirt": 1}, strategy


async def test_a_cart_that_was_never_written_can_be_merged(client: MergeClient) -> None:
    merge = await client.merge(client.user(), client.guest())
    assert merge["lines"] == {"done": 0, "total": 0}
    assert (await client.read(client.guest()))["merged_into"] == client.user()
    assert (await client.read(client.user()))["lines"] == []
    await client.until_settled()


async def test_pieces_beyond_the_limit_are_lost_with_a_warning(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(user, "mug", 990)
    await client.add(guest, "mug", 20)
    merge = await client.merge(user, guest)
    assert merge["warnings"] == [{"code": "quantity_limit", "line_id": "mug", "quantity": 11}]
    assert await client.quantities(user) == {"mug": 999}


async def test_another_currency_stays_and_is_named(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(user, "mug", 1)
    await client.add(guest, "shirt", 2, currency="USD")
    merge = await client.merge(user, guest)
    assert merge["left"] == [{"code": "currency", "line_id": "shirt", "quantity": 2}]
    assert await client.quantities(user) == {"mug": 1}
    assert await client.quantities(guest) == {"shirt": 2}
    await client.until_settled()
    assert (await client.ask(user, guest)).json()["left"] == merge["left"]


async def test_many_lines_are_the_merge_agents(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    for start in range(0, 230, 100):
        count = min(100, 230 - start)
        reply = await client.http.patch(
            f"/v1/carts/{guest}",
            json={
                "operations": [
                    {
                        "op": "add",
                        "product_id": f"p{start + place}",
                        "quantity": 2,
                        "unit_price": 5,
                        "currency": "EUR",
                    }
                    for place in range(count)
                ]
            },
        )
        assert reply.status_code == 200, reply.text
    asked = await client.ask(user, guest)
    assert asked.status_code == 202, asked.text
    merge = await client.done(asked.json()["merge_id"])
    assert merge["lines"] == {"done": 230, "total": 230}
    assert await client.quantities(user) == {f"p{place}": 2 for place in range(230)}
    assert await client.transfers(guest) == 3
    await client.until_settled()


async def test_a_guest_adds_while_it_is_merged(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(guest, "mug", 1)
    taken = ["mug"]

    async def keep_adding() -> None:
        for name in range(40):
            reply = await client.try_to_add(guest, f"p{name}")
            if reply.status_code == 409:
                return
            assert reply.status_code == 200, reply.text
            taken.append(f"p{name}")

    adding = asyncio.create_task(keep_adding())
    await until(lambda: len(taken) > 3)
    await client.merge(user, guest)
    await adding
    await client.until_settled()
    assert await client.quantities(user) == dict.fromkeys(taken, 1)
    assert await client.quantities(guest) == {}


async def test_a_write_that_gets_into_a_merged_cart_follows(client: MergeClient) -> None:
    """A failover has taken the claim back: here it is taken out of Redis by hand."""
    user, guest = client.user(), client.guest()
    await client.add(guest, "mug", 1)
    await client.merge(user, guest)
    await client.until_settled()
    await client.lose_claim(guest)
    await client.add(guest, "late", 2)

    async def has_followed() -> bool:
        return (await client.quantities(user)).get("late") == 2

    await until(has_followed, "the late piece follows")
    await client.until_settled()
    assert await client.quantities(user) == {"mug": 1, "late": 2}
    assert await client.quantities(guest) == {}


async def test_what_is_refused(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(guest, "mug", 1)
    for path, body in (
        (guest, {"guest": guest}),
        (user, {"guest": client.user("other")}),
        (user, {"guest": user}),
        (user, {"guest": "nonsense"}),
        (user, {"guest": "g1.a.1.b"}),
        (user, {"guest": guest, "strategy": "all"}),
        (user, {}),
        (user, {"session": "no key is configured"}),
        (user, {"guest": guest, "session": "both"}),
    ):
        reply = await client.http.post(f"/v1/carts/{path}/merge", json=body)
        assert reply.status_code == 422, (path, body, reply.text)
    for merge_id in ("m_" + 32 * "0", "nonsense"):
        assert (await client.http.get(f"/v1/merges/{merge_id}")).status_code == 404
    assert await client.quantities(guest) == {"mug": 1}


async def test_a_guests_cart_goes_into_one_cart_only(client: MergeClient) -> None:
    first, second, guest = client.user("a"), client.user("b"), client.guest()
    await client.add(guest, "mug", 1)
    await client.merge(first, guest)
    refused = await client.ask(second, guest)
    assert (refused.status_code, refused.json()["into"]) == (409, first)
    assert await client.quantities(second) == {}


async def test_a_guest_proves_its_cart_by_its_token(client: MergeClient) -> None:
    minted = (await client.http.post("/v1/carts")).json()
    await client.add(minted["cart_id"], "mug", 1)
    merge = await client.merge(client.user(), minted["token"])
    assert merge["guest_cart_id"] == minted["cart_id"]
    assert await client.quantities(client.user()) == {"mug": 1}


async def test_a_wiped_redis_in_the_middle(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(user, "mug", 1)
    await client.add(guest, "mug", 2)
    await client.add(guest, "shirt", 1)
    asking = asyncio.create_task(client.merge(user, guest))
    await client.wipe()
    await asking
    await client.until_settled()

    async def restored() -> bool:
        reply = await client.http.get(f"/v1/carts/{user}")
        return reply.status_code == 200 and "cart-freshness" not in reply.headers

    await until(restored)
    assert await client.quantities(user) == {"mug": 3, "shirt": 1}
    assert await client.quantities(guest) == {}


async def test_a_guest_who_is_paying_elsewhere_is_merged_afterwards(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(guest, "mug", 2)
    opened = await client.http.post(f"/v1/carts/{guest}/checkout")
    assert opened.status_code == 201, opened.text
    asked = await client.ask(user, guest)
    assert asked.status_code == 202, asked.text
    assert await client.quantities(guest) == {"mug": 2}
    completed = await client.http.post(f"/v1/carts/{guest}/checkout/{opened.json()['token']}/complete")
    assert completed.status_code == 200, completed.text
    await client.done(asked.json()["merge_id"])
    await client.until_settled()
    assert await client.quantities(user) == {}
    assert await client.quantities(guest) == {}
