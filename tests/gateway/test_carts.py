"""What the routes of carts do, on real servers."""

import asyncio
from uuid import uuid4

import pytest
import redis.asyncio

from tests.gateway.cart_client import CartClient, item
from tests.support.waiting import until
from topics.codec import decode_change

NEVER_WRITTEN = '"0-0-000000000000"'


async def test_a_minted_cart_is_empty_and_stored_nowhere(carts: CartClient) -> None:
    reply = await carts.http.post("/v1/carts")
    assert reply.status_code == 201
    minted = reply.json()
    assert minted["cart_id"].startswith("guest:")
    assert minted["cart_id"].removeprefix("guest:") not in minted["token"]
    read = await carts.http.get(reply.headers["location"])
    assert (read.status_code, read.headers["etag"], read.json()["lines"]) == (200, NEVER_WRITTEN, [])
    assert await carts.outbox_is_empty()


async def test_a_cart_is_minted_with_its_first_items(carts: CartClient) -> None:
    body = {"currency": "EUR", "items": [stated("mug", 2), stated("tea", 1)]}
    reply = await carts.http.post("/v1/carts", json=body)
    assert reply.status_code == 201, reply.text
    minted = reply.json()
    assert [(line["line_id"], line["quantity"]) for line in minted["cart"]["lines"]] == [
        ("mug", 2),
        ("tea", 1),
    ]
    assert minted["cart"]["cart_id"] == minted["cart_id"]
    assert {"token", "expires_at"} < set(minted)
    assert reply.headers["preference-applied"] == "durability=kafka"
    read = await carts.http.get(reply.headers["location"])
    assert (read.json(), read.headers["etag"]) == (minted["cart"], reply.headers["etag"])
    change = decode_change((await carts.topic.at(reply.headers["cart-receipt"])).value)
    assert (change.cart_id, change.cause, len(change.delta)) == (minted["cart_id"], "carts.mint", 2)


def stated(product_id: str, quantity: int) -> dict[str, object]:
    """An item with a price and without a currency."""
    return {"product_id": product_id, "quantity": quantity, "unit_price": 100}


async def test_a_retry_of_a_mint_gets_the_same_cart_and_adds_nothing(carts: CartClient) -> None:
    headers = {"idempotency-key": str(uuid4())}
    body = {"currency": "EUR", "items": [stated("mug", 2)]}
    first = await carts.http.post("/v1/carts", json=body, headers=headers)
    again = await carts.http.post("/v1/carts", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["cart"] == first.json()["cart"]

    other = await carts.http.post("/v1/carts", json={"items": [item("mug", 3)]}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    another = await carts.http.post("/v1/carts", json=body, headers={"idempotency-key": str(uuid4())})
    assert another.json()["cart_id"] != first.json()["cart_id"]


async def test_the_key_of_a_mint_is_a_proof_and_in_no_record_and_no_store(
    carts: CartClient,
) -> None:
    key = str(uuid4())
    body = {"currency": "EUR", "items": [stated("mug", 2)]}
    minted = await carts.http.post("/v1/carts", json=body, headers={"idempotency-key": key})
    record = await carts.topic.at(minted.headers["cart-receipt"])
    keys = carts.layout.of_cart(minted.json()["cart_id"])
    client = carts.store._client  # noqa: SLF001
    stored = [await client.execute("HGETALL", keys.ops), await client.execute("ZRANGE", keys.win, 0, -1)]
    assert key not in repr((record.key, record.value, record.raw_headers, stored))


async def test_a_retry_of_a_mint_that_cannot_be_told_from_a_new_request_is_refused(carts: CartClient) -> None:
    headers = {"idempotency-key": str(uuid4())}
    body = {"currency": "EUR", "items": [stated("mug", 2)]}
    cart_id = (await carts.http.post("/v1/carts", json=body, headers=headers)).json()["cart_id"]
    async with redis.asyncio.Redis.from_url(carts.urls.redis) as client:
        keys = carts.layout.of_cart(cart_id)
        assert await client.delete(keys.ops, keys.win) == 2  # as if it had left the window
    late = await carts.http.post("/v1/carts", json=body, headers=headers)
    assert (late.status_code, late.json()["type"]) == (409, "/problems/request-too-old")
    assert await carts.quantities(cart_id) == {"mug": 2}


async def test_a_mint_is_refused_with_a_key_to_guess_and_points_at_a_wrong_item(carts: CartClient) -> None:
    body = {"currency": "EUR", "items": [stated("mug", 2)]}
    guessed = await carts.http.post("/v1/carts", json=body, headers={"idempotency-key": "1"})
    assert (guessed.status_code, guessed.json()["type"]) == (400, "/problems/invalid-header")
    for items, pointer in (
        ([stated("mug", 1), stated("tea", 1000)], "/items/1/quantity"),
        ([stated("mug", 1), stated("tea~", 1)], "/items/1/product_id"),
    ):
        reply = await carts.http.post("/v1/carts", json={"currency": "EUR", "items": items})
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)
    unpriced = await carts.http.post("/v1/carts", json={"items": [stated("mug", 1)]})
    assert (unpriced.status_code, unpriced.json()["errors"][0]["pointer"]) == (422, "/items/0/currency")


async def test_a_minimal_reply_to_a_mint_has_the_token_and_no_cart(carts: CartClient) -> None:
    body = {"currency": "EUR", "items": [stated("mug", 2)]}
    reply = await carts.http.post("/v1/carts", json=body, headers={"prefer": "return=minimal"})
    assert reply.status_code == 201
    assert set(reply.json()) == {"cart_id", "token", "expires_at"}
    assert (await carts.quantities(reply.json()["cart_id"])) == {"mug": 2}


async def test_a_reply_names_no_other_service_to_go_to(carts: CartClient, cart_id: str) -> None:
    assert "alt-svc" not in (await carts.add(cart_id)).headers


async def test_an_add_answers_the_whole_cart_with_its_receipt(carts: CartClient, cart_id: str) -> None:
    reply = await carts.add(cart_id, "sku-1", 2, traceparent=TRACE, x_request_id="r-1")
    assert reply.status_code == 200
    cart = reply.json()
    assert [(line["line_id"], line["quantity"]) for line in cart["lines"]] == [("sku-1", 2)]
    assert cart["totals"]["total"] == 2 * 1999
    assert reply.headers["etag"] == f'"{cart["version"]}"'
    assert reply.headers["preference-applied"] == "durability=kafka"
    assert reply.headers["cache-control"] == "private, no-store"
    record = await carts.topic.at(reply.headers["cart-receipt"])
    change = decode_change(record.value)
    assert (record.key, change.cart_id, f"{change.version}-1-") == (cart_id, cart_id, cart["version"][:-12])
    assert record.timestamp == change.version // 2000
    assert record.headers.traceparent == TRACE
    assert record.raw_headers["request_id"] == b"r-1"


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_the_cart_read_is_the_cart_answered(carts: CartClient, cart_id: str) -> None:
    changed = await carts.add(cart_id, quantity=3)
    read = await carts.http.get(f"/v1/carts/{cart_id}")
    assert read.content == changed.content
    assert read.headers["etag"] == changed.headers["etag"]
    head = await carts.http.head(f"/v1/carts/{cart_id}")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", read.headers["etag"])
    assert head.headers["content-length"] == str(len(read.content))


async def test_an_escaped_cart_id_is_the_same_cart(carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id)
    reply = await carts.http.get(f"/v1/carts/{cart_id.replace(':', '%3A')}")
    assert reply.json()["cart_id"] == cart_id
    assert len(reply.json()["lines"]) == 1


async def test_items_are_put_patched_and_removed(carts: CartClient, cart_id: str) -> None:
    line = f"/v1/carts/{cart_id}/items/sku-1"
    await carts.http.post(f"/v1/carts/{cart_id}/items", json=item(metadata={"gift": True}))
    patched = await carts.http.patch(line, json={"quantity": 5})
    assert [(got["quantity"], got["metadata"]) for got in patched.json()["lines"]] == [(5, {"gift": True})]
    put = await carts.http.put(line, json={"quantity": 7})
    assert [(got["quantity"], got["metadata"]) for got in put.json()["lines"]] == [(7, {})]
    noted = await carts.http.patch(line, json={"metadata": {"note": "ä"}})
    assert [(got["quantity"], got["metadata"]) for got in noted.json()["lines"]] == [(7, {"note": "ä"})]
    assert (await carts.http.put(line, json={"quantity": 0})).json()["lines"] == []
    await carts.add(cart_id)
    assert (await carts.http.delete(line)).json()["lines"] == []


async def test_other_options_are_another_line(carts: CartClient, cart_id: str) -> None:
    for size in ("M", "L", "M"):
        reply = await carts.http.post(f"/v1/carts/{cart_id}/items", json=item(options={"size": size}))
    lines = reply.json()["lines"]
    assert [(line["options"], line["quantity"]) for line in lines] == [({"size": "M"}, 2), ({"size": "L"}, 1)]
    reply = await carts.http.delete(f"/v1/carts/{cart_id}/items/{lines[0]['line_id']}")
    assert [line["options"] for line in reply.json()["lines"]] == [{"size": "L"}]


async def test_clearing_keeps_the_metadata(carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id)
    operations = [{"op": "metadata", "metadata": {"source": "app"}}]
    await carts.http.patch(f"/v1/carts/{cart_id}", json={"operations": operations})
    cleared = await carts.http.delete(f"/v1/carts/{cart_id}")
    assert (cleared.json()["lines"], cleared.json()["metadata"]) == ([], {"source": "app"})


async def test_a_patch_is_one_version_and_one_event(carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id, "old")
    operations = [
        {"op": "clear"},
        {"op": "add", **item("a", 2)},
        {"op": "add", **item("b", 1)},
        {"op": "set", "line_id": "a", "quantity": 9},
        {"op": "remove", "line_id": "b"},
        {"op": "metadata", "line_id": "a", "metadata": {"x": 1}},
        {"op": "metadata", "metadata": {"y": 2}},
    ]
    reply = await carts.http.patch(f"/v1/carts/{cart_id}", json={"operations": operations})
    assert reply.status_code == 200, reply.text
    cart = reply.json()
    assert [(line["line_id"], line["quantity"], line["metadata"]) for line in cart["lines"]] == [
        ("a", 9, {"x": 1})
    ]
    assert cart["metadata"] == {"y": 2}
    assert cart["version"].split("-")[1] == "2"
    change = decode_change((await carts.topic.at(reply.headers["cart-receipt"])).value)
    assert len(change.delta) == len(operations)


async def test_lines_are_shown_in_the_order_in_which_they_were_added(carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id, "mug")
    operations = [{"op": "add", **item(name, 1)} for name in ("tea", "cup", "a-spoon", "mug")]
    reply = await carts.http.patch(f"/v1/carts/{cart_id}", json={"operations": operations})
    assert reply.status_code == 200, reply.text
    for cart in (reply.json(), await carts.read(cart_id)):
        assert [line["line_id"] for line in cart["lines"]] == ["mug", "tea", "cup", "a-spoon"]


async def test_a_patch_that_fails_changes_nothing(carts: CartClient, cart_id: str) -> None:
    before = await carts.add(cart_id)
    operations = [{"op": "add", **item("b", 1)}, {"op": "set", "line_id": "absent", "quantity": 9}]
    reply = await carts.http.patch(f"/v1/carts/{cart_id}", json={"operations": operations})
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/line-not-found")
    assert reply.json()["errors"][0]["pointer"] == "/operations/1"
    assert (await carts.read(cart_id))["version"] == before.json()["version"]


async def test_an_unchanged_cart_is_not_sent_again(carts: CartClient, cart_id: str) -> None:
    tag = (await carts.add(cart_id)).headers["etag"]
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        reply = await carts.http.get(f"/v1/carts/{cart_id}", headers={"if-none-match": condition})
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", tag), condition
    changed = await carts.http.get(f"/v1/carts/{cart_id}", headers={"if-none-match": NEVER_WRITTEN})
    assert changed.status_code == 200


async def test_if_match_guards_a_change(carts: CartClient, cart_id: str) -> None:
    born = await carts.add(cart_id, if_match=NEVER_WRITTEN)
    assert born.status_code == 200
    second = await carts.add(cart_id, if_match=f'"other", {born.headers["etag"]}')
    assert second.status_code == 200
    assert (await carts.add(cart_id, if_match="*")).status_code == 200
    now = (await carts.read(cart_id))["version"]
    for stale in (born.headers["etag"], NEVER_WRITTEN, f'W/"{now}"'):
        refused = await carts.add(cart_id, if_match=stale)
        assert (refused.status_code, refused.json()["type"]) == (412, "/problems/precondition-failed"), stale
        assert (refused.headers["etag"], refused.json()["current"]) == (f'"{now}"', now)
    assert (await carts.read(cart_id))["version"] == now


async def test_a_retry_with_the_same_key_applies_once(carts: CartClient, cart_id: str) -> None:
    first = await carts.add(cart_id, quantity=2, idempotency_key="k-1")
    await carts.add(cart_id, "sku-2")
    retry = await carts.add(cart_id, quantity=2, idempotency_key='"k-1"')
    assert retry.status_code == 200
    assert retry.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert retry.headers["preference-applied"] == "durability=kafka"
    assert await carts.quantities(cart_id) == {"sku-1": 2, "sku-2": 1}
    assert retry.json()["version"] == (await carts.read(cart_id))["version"]


async def test_concurrent_retries_apply_once(carts: CartClient, cart_id: str) -> None:
    replies = await asyncio.gather(*(carts.add(cart_id, idempotency_key="k") for _ in range(16)))
    assert {reply.status_code for reply in replies} == {200}
    assert await carts.quantities(cart_id) == {"sku-1": 1}


async def test_a_uuid7_from_beyond_the_retry_horizon_is_refused(carts: CartClient, cart_id: str) -> None:
    reply = await carts.add(cart_id, idempotency_key="018bcfe5-6800-7000-8000-000000000000")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/request-too-old")
    assert await carts.quantities(cart_id) == {}


async def test_a_minimal_reply_has_no_body(carts: CartClient, cart_id: str) -> None:
    reply = await carts.add(cart_id, prefer="return=minimal")
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["preference-applied"] == "durability=kafka, return=minimal"
    assert reply.headers["etag"] == f'"{(await carts.read(cart_id))["version"]}"'


async def test_durability_redis_does_not_wait_and_is_published_all_the_same(
    carts: CartClient, cart_id: str
) -> None:
    ends = await carts.topic.ends()
    reply = await carts.add(cart_id, prefer="durability=redis")
    assert reply.headers["preference-applied"] == "durability=redis"
    assert "cart-receipt" not in reply.headers
    await until(carts.outbox_is_empty, "outbox empty")
    assert cart_id in {record.key for record in await carts.topic.since(ends)}


async def test_published_changes_leave_the_outbox(carts: CartClient, cart_id: str) -> None:
    for _ in range(5):
        await carts.add(cart_id)
    await until(carts.outbox_is_empty, "outbox empty")


async def test_twenty_clients_adding_to_one_cart_lose_nothing(carts: CartClient, cart_id: str) -> None:
    async def client() -> list[str]:
        replies = [await carts.add(cart_id) for _ in range(10)]
        assert {reply.status_code for reply in replies} == {200}, [reply.text for reply in replies]
        return [reply.json()["version"] for reply in replies]

    versions = [
        version for found in await asyncio.gather(*(client() for _ in range(20))) for version in found
    ]
    assert len(set(versions)) == 200
    assert await carts.quantities(cart_id) == {"sku-1": 200}


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"])
async def test_operation_has_its_routes(carts: CartClient, path: str) -> None:
    reply = await carts.http.get(path)
    assert reply.status_code == 200
    assert reply.content


async def test_metrics_count_what_was_answered(carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id)
    lines = (await carts.http.get("/metrics")).text.splitlines()
    counted = [
        line for line in lines if line.startswith('cartstream_gateway_changes_total{durability="kafka"}')
    ]
    assert float(counted[0].rsplit(" ", 1)[1]) >= 1
