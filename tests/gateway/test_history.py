"""The history over HTTP: its pages, and carts as they were, written by the product's own sink."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.gateway.cart_client import CartClient, item
from tests.gateway.conftest import client_of
from tests.support.processes import AgentProcess, GatewayProcess, sink_process
from tests.support.servers import Urls
from tests.support.waiting import until

HISTORY = {"CARTSTREAM_HISTORY": "true"}
DETAILS = {"op": "details", "locale": "de-CH", "codes": ["SPRING"]}


@pytest.fixture(scope="module")
def gateway(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a history."""
    process = GatewayProcess({**urls.environment(), **HISTORY}, tmp_path_factory.mktemp("gateway"))
    process.start()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def sink(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """The history sink, at work."""
    process = sink_process("history", urls.environment(), tmp_path_factory.mktemp("sink"))
    process.launch()
    process.wait_ready()
    yield process
    process.kill()


@pytest.fixture
async def carts(gateway: GatewayProcess, sink: AgentProcess, urls: Urls) -> AsyncIterator[CartClient]:
    """A client of that gateway."""
    await until(sink.is_ready, "the history sink works")  # on a busy machine it may have asked for a restart
    async with client_of(gateway, urls) as found:
        yield found


def number(version: str) -> int:
    """The version number in a version tag."""
    return int(version.split("-", maxsplit=1)[0])


async def page(carts: CartClient, cart_id: str, **query: Any) -> dict[str, Any]:
    reply = await carts.http.get(f"/v1/carts/{cart_id}/history", params=query)
    assert reply.status_code == 200, reply.text
    document: dict[str, Any] = reply.json()
    return document


async def at(carts: CartClient, cart_id: str, when: object) -> httpx.Response:
    return await carts.http.get(f"/v1/carts/{cart_id}", params={"at": str(when)})


async def written(carts: CartClient, cart_id: str, operations: int) -> list[dict[str, Any]]:
    """The entries, newest first, once there are as many."""

    async def there() -> list[dict[str, Any]] | None:
        entries: list[dict[str, Any]] = (await page(carts, cart_id, limit=100))["entries"]
        return entries if len(entries) == operations else None

    found: list[dict[str, Any]] | None = await until(there, f"{operations} operations")
    assert found is not None
    return found


async def change_in_many_ways(carts: CartClient, cart_id: str) -> list[dict[str, Any]]:
    """Changes of every kind that a client can make; the cart after each."""
    path = f"/v1/carts/{cart_id}"
    requests: list[tuple[str, str, Any]] = [
        ("POST", f"{path}/items", item("cup", 2, metadata={"gift": True})),
        ("POST", f"{path}/items", item("pot", 1)),
        ("PUT", f"{path}/items/cup", {"quantity": 5, "metadata": {"note": "für Zoë"}}),
        ("PATCH", f"{path}/items/pot", {"quantity": 3}),
        ("PATCH", path, {"operations": [{"op": "metadata", "metadata": {"n": 1.5}}, DETAILS]}),
        ("DELETE", f"{path}/items/cup", None),
        ("POST", f"{path}/items", item("cup", 1)),
        ("DELETE", path, None),
        ("POST", f"{path}/items", item("jug", 4)),
    ]
    shown = []
    for method, url, body in requests:
        reply = await carts.http.request(method, url, json=body)
        assert reply.status_code == 200, reply.text
        shown.append(reply.json())
    return shown


async def test_at_each_version_the_cart_is_what_the_shopper_was_shown(
    carts: CartClient, cart_id: str
) -> None:
    shown = await change_in_many_ways(carts, cart_id)
    await written(carts, cart_id, len(shown))
    for cart in shown:
        reply = await at(carts, cart_id, number(cart["version"]))
        assert reply.status_code == 200, reply.text
        assert reply.json() == cart
        assert reply.headers["cart-at"] == str(number(cart["version"]))
        assert "etag" not in reply.headers
    now = await carts.read(cart_id)
    assert (await at(carts, cart_id, datetime.now(UTC).isoformat())).json() == now


async def test_a_time_between_two_changes_is_that_of_the_first_one(carts: CartClient, cart_id: str) -> None:
    shown = await change_in_many_ways(carts, cart_id)
    await written(carts, cart_id, len(shown))
    second, third = shown[1], shown[2]
    between = datetime.fromisoformat(third["updated_at"]) - timedelta(microseconds=1)
    reply = await at(carts, cart_id, between.isoformat())
    assert reply.json() == second
    assert reply.headers["cart-at"] == str(number(second["version"]))
    # A + that nobody has encoded arrives as a space.
    unencoded = await carts.http.get(f"/v1/carts/{cart_id}?at={third['updated_at'].replace('Z', '+00:00')}")
    assert unencoded.json() == third


async def test_before_its_birth_a_cart_is_not_known_and_it_is_said_from_when_on(
    carts: CartClient, cart_id: str
) -> None:
    first = (await carts.add(cart_id)).json()
    await written(carts, cart_id, 1)
    reply = await at(carts, cart_id, number(first["version"]) - 1)
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/not-in-history")
    assert reply.json()["known_from"] == reply.json()["kept_from"] == first["created_at"]
    nobody = await at(carts, f"user:{uuid4().hex}", 2)
    assert (nobody.status_code, nobody.json()["known_from"], nobody.json()["kept_from"]) == (404, None, None)


async def test_a_cart_older_than_its_history_is_not_known_at_any_time(
    carts: CartClient, cart_id: str
) -> None:
    shown = await change_in_many_ways(carts, cart_id)
    await written(carts, cart_id, len(shown))
    await delete(carts, cart_id, number(shown[0]["version"]))
    reply = await at(carts, cart_id, number(shown[-1]["version"]))
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/not-in-history")
    assert (reply.json()["known_from"], reply.json()["kept_from"]) == (None, shown[1]["updated_at"])


async def test_a_missing_operation_is_noticed(carts: CartClient, cart_id: str) -> None:
    shown = await change_in_many_ways(carts, cart_id)
    await written(carts, cart_id, len(shown))
    await delete(carts, cart_id, number(shown[3]["version"]))
    before, after = [await at(carts, cart_id, number(shown[place]["version"])) for place in (2, 4)]
    assert before.json() == shown[2]
    assert (after.status_code, after.json()["type"]) == (409, "/problems/history-incomplete")


async def delete(carts: CartClient, cart_id: str, version: int) -> None:
    """Delete an operation, as the end of its days would."""
    async with await psycopg.AsyncConnection.connect(carts.urls.postgres) as connection:
        await connection.execute("DELETE FROM cart_changes WHERE cart_id = %s AND v = %s", [cart_id, version])


async def test_entries_say_what_was_done_by_whom(carts: CartClient, cart_id: str) -> None:
    shown = await change_in_many_ways(carts, cart_id)
    entries = await written(carts, cart_id, len(shown))
    assert [entry["version"] for entry in entries] == [number(cart["version"]) for cart in reversed(shown)]
    oldest, patch, clear = entries[-1], entries[4], entries[1]
    assert oldest["steps"] == [{"kind": "add", "line_id": "cup", "quantity": 2}]
    assert oldest["time"] == shown[0]["updated_at"]
    assert oldest["cause"] == "items.add"
    assert [step["kind"] for step in patch["steps"]] == ["metadata", "details"]
    assert clear["steps"] == [{"kind": "clear", "line_id": None, "quantity": None}]


async def test_pages_follow_each_other_without_a_gap(carts: CartClient, cart_id: str) -> None:
    shown = await change_in_many_ways(carts, cart_id)
    entries = await written(carts, cart_id, len(shown))
    seen, cursor = [], None
    while True:
        found = await page(carts, cart_id, limit=2, **({} if cursor is None else {"cursor": cursor}))
        assert 1 <= len(found["entries"]) <= 2
        seen += found["entries"]
        if (cursor := found["next_cursor"]) is None:
            break
    assert seen == entries


async def test_a_retry_is_one_operation(carts: CartClient, cart_id: str) -> None:
    for _ in range(2):
        assert (await carts.add(cart_id, idempotency_key="once")).status_code == 200
    await carts.add(cart_id, "pot")
    assert len(await written(carts, cart_id, 2)) == 2


@pytest.mark.parametrize(
    "when",
    ["", "0", "-1", "1e3", "9" * 17, "now", "2026-11-28", "2026-11-28T06:53:01", "2026-13-28T06:53:01Z"],
)
async def test_a_time_that_is_none_is_refused(when: str, carts: CartClient, cart_id: str) -> None:
    reply = await at(carts, cart_id, when)
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-parameter")


@pytest.mark.parametrize("cursor", ["", "x", "####", "MTIzNA", "ÿ", "A" * 2000, "MTox_w"])
async def test_a_cursor_that_is_none_is_refused(cursor: str, carts: CartClient, cart_id: str) -> None:
    reply = await carts.http.get(f"/v1/carts/{cart_id}/history", params={"cursor": cursor})
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-parameter")


@pytest.mark.parametrize("limit", ["0", "101", "x"])
async def test_a_limit_is_a_number_up_to_a_hundred(limit: str, carts: CartClient, cart_id: str) -> None:
    reply = await carts.http.get(f"/v1/carts/{cart_id}/history", params={"limit": limit})
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-parameter")


async def test_without_a_history_the_setting_is_named(
    urls: Urls, cart_id: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    process = GatewayProcess(urls.environment(), tmp_path_factory.mktemp("without"))
    process.start()
    try:
        async with client_of(process, urls) as carts:
            for reply in (
                await carts.http.get(f"/v1/carts/{cart_id}/history"),
                await at(carts, cart_id, 2),
            ):
                assert (reply.status_code, reply.json()["type"]) == (404, "/problems/no-history")
                assert "CARTSTREAM_HISTORY" in reply.json()["detail"]
    finally:
        process.kill()
