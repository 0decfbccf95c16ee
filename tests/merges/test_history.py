"""The history of carts that were merged, ordered, expired and erased: each as it is, and as it was."""

from functools import partial
from typing import Any

import httpx
import pytest

from carts.operations import Change, Expire
from runtime.clock import clock_us
from tests.merges.conftest import COMMANDS, QUICK
from tests.merges.merge_client import MergeClient
from tests.support.processes import PRICED_BY_CALLER
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.publishing import Publisher
from topics.registry import PARTITIONS


@pytest.fixture(scope="module")
def environment(urls: Urls) -> dict[str, str]:
    """As in the other modules, and with a history."""
    return {**urls.environment(), **PRICED_BY_CALLER, **QUICK, "CARTSTREAM_HISTORY": "true"}


@pytest.fixture(scope="module")
def commands() -> dict[str, tuple[str, ...]]:
    """As in the other modules, and the history sink."""
    return {**COMMANDS, "history": ("sinks", "history")}


async def at(client: MergeClient, cart_id: str, version: object) -> httpx.Response:
    return await client.http.get(f"/v1/carts/{cart_id}", params={"at": str(version)})


async def entries(client: MergeClient, cart_id: str) -> list[dict[str, Any]]:
    reply = await client.http.get(f"/v1/carts/{cart_id}/history", params={"limit": 100})
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["entries"]
    return found


async def is_as_it_was(client: MergeClient, cart_id: str) -> bool:
    """Whether the cart at its newest version is the cart now, its version included."""
    now = await client.read(cart_id)
    reply = await at(client, cart_id, now["version"].partition("-")[0])
    return reply.status_code == 200 and bool(reply.json() == now)


async def becomes_as_it_was(client: MergeClient, *cart_ids: str) -> None:
    for cart_id in cart_ids:
        await until(partial(is_as_it_was, client, cart_id), f"{cart_id} as it was")


async def kinds(client: MergeClient, cart_id: str) -> list[str]:
    """The kinds of the steps, oldest first."""
    return [step["kind"] for entry in reversed(await entries(client, cart_id)) for step in entry["steps"]]


async def test_merged_and_ordered_carts_are_what_they_are_now(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    await client.add(user, "mug", 1)
    await client.add(guest, "mug", 2)
    await client.add(guest, "shirt", 3)
    await client.merge(user, guest)
    await client.until_settled()
    opened = await client.http.post(f"/v1/carts/{user}/checkout", json={})
    assert opened.status_code == 201, opened.text
    await client.add(user, "pot", 4)
    done = await client.http.post(f"/v1/carts/{user}/checkout/{opened.json()['token']}/complete", json={})
    assert done.status_code == 200, done.text
    await client.add(user, "mug", 5)
    await becomes_as_it_was(client, user, guest)
    assert await client.quantities(user) == {"pot": 4, "mug": 5}
    assert await kinds(client, user) == ["add", "add", "add", "add", "subtract", "subtract", "add"]
    assert (await kinds(client, guest))[-3:] == ["finish", "finish", "merged"]
    history = await entries(client, user)
    before_the_order = (await at(client, user, history[2]["version"])).json()
    assert {line["line_id"]: line["quantity"] for line in before_the_order["lines"]} == {
        "mug": 3,
        "shirt": 3,
        "pot": 4,
    }


async def test_an_expired_cart_is_known_before_and_after(client: MergeClient) -> None:
    cart_id = client.user("expired")
    await client.add(cart_id, "mug", 2)
    before = await client.read(cart_id)
    number, count = before["version"].split("-")[:2]
    now = clock_us()
    expiry = Change(
        cart_id=cart_id, version=2 * now, op_id="!expire/1", delta=(Expire(int(number), int(count), now),)
    )
    async with Publisher(client.urls.kafka) as publisher:
        await publisher.publish_changes([expiry], PARTITIONS, source="/cartstream/tests")

    async def is_expired() -> bool:
        return not (await client.read(cart_id))["lines"]

    await until(is_expired, "expired")
    await becomes_as_it_was(client, cart_id)
    await client.add(cart_id, "pot", 1)
    await becomes_as_it_was(client, cart_id)
    assert (await at(client, cart_id, number)).json() == before
    assert (await at(client, cart_id, 2 * now)).json()["lines"] == []


async def test_an_erased_cart_is_known_from_its_erasure_on(client: MergeClient) -> None:
    cart_id = client.user("erased")
    await client.add(cart_id, "mug", 2)
    first = (await client.read(cart_id))["version"].partition("-")[0]

    async def is_written() -> bool:
        return len(await entries(client, cart_id)) == 1

    await until(is_written, "written")
    reply = await client.http.delete(f"/v1/carts/{cart_id}", params={"erase": "true"}, timeout=60)
    certificate = reply.json()
    assert certificate["removed"]["changes"] == 1

    async def only_the_erasure() -> bool:
        return await kinds(client, cart_id) == ["erase"]

    await until(only_the_erasure, "the erasure alone")
    await client.add(cart_id, "pot", 1)

    async def both() -> bool:
        return await kinds(client, cart_id) == ["erase", "add"]

    await until(both, "the shopper is back")
    then = await at(client, cart_id, first)
    assert (then.status_code, then.json()["type"]) == (404, "/problems/not-in-history")
    assert (await at(client, cart_id, certificate["version"])).json()["lines"] == []
    newest = await at(client, cart_id, (await entries(client, cart_id))[0]["version"])
    now = await client.read(cart_id)
    assert (newest.json()["lines"], newest.json()["totals"]) == (now["lines"], now["totals"])
