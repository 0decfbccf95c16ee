"""Erasing carts that were merged: nothing personal is left of either, and the merge stays done."""

from tests.merges.merge_client import MergeClient
from tests.support.erasing import erase_cart

SECRET = "Ada Lovelace"


async def everything(client: MergeClient, *cart_ids: str) -> str:
    """What Postgres has of the carts and their merges."""
    found = await client.rows("SELECT c::text FROM carts AS c WHERE cart_id = ANY(%s)", (list(cart_ids),))
    found += await client.rows(
        "SELECT t::text FROM merge_transfers AS t JOIN merges USING (merge_id) WHERE guest = ANY(%s)",
        (list(cart_ids),),
    )
    return repr(found)


async def test_the_certificate_names_every_guest_of_a_chain(client: MergeClient) -> None:
    user, first, second = client.user(), client.guest("first"), client.guest("second")
    await client.add(first, "mug", 1)
    await client.merge(second, first)
    await client.merge(user, second)
    await client.until_settled()
    assert (await erase_cart(client.http, user))["merged_guests"] == [first, second]
    assert (await erase_cart(client.http, second))["merged_guests"] == [first]


async def test_a_user_and_the_guest_it_was_are_erased_one_by_one(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(guest, "mug", 2, options={"engraving": SECRET}, metadata={"note": SECRET})
    await client.detail(guest, shipping_address={"name": SECRET, "country": "GB"})
    await client.merge(user, guest)
    await client.until_settled()
    assert SECRET in await everything(client, user, guest)

    certificate = await erase_cart(client.http, user)

    assert certificate["merged_guests"] == [guest]
    assert certificate["removed"]["transfers"] >= 1
    assert (await erase_cart(client.http, guest))["merged_guests"] == []
    assert SECRET not in await everything(client, user, guest)
    read = await client.read(guest)
    assert (read["status"], read["merged_into"], read["details"]) == ("merged", user, {})
    await client.add(user, "pen", 1)
    await client.until_settled()
    assert await client.quantities(user) == {"pen": 1}
