"""What the gateway counts of each request, and of what stands behind it."""

import re

from tests.gateway.cart_client import CartClient, item
from tests.support.waiting import until


async def counted(carts: CartClient) -> dict[tuple[str, str], float]:
    """Requests so far, by route and class of status."""
    text = (await carts.http.get("/metrics")).text
    name = "cartstream_gateway_request_seconds_count"
    found = re.findall(rf'^{name}{{route="([^"]+)",status="([^"]+)"}} (\S+)$', text, re.MULTILINE)
    return {(route, status): float(value) for route, status, value in found}


async def sample(carts: CartClient, name: str) -> float:
    """The value of a sample without labels."""
    lines = (await carts.http.get("/metrics")).text.splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return float(line.split()[1])


async def test_requests_are_counted_by_route_and_status_with_their_time(
    carts: CartClient, cart_id: str
) -> None:
    before = await counted(carts)
    assert (await carts.add(cart_id)).status_code == 200
    assert (await carts.http.post(f"/v1/carts/{cart_id}/items", json=item(quantity=-1))).status_code == 422
    assert (await carts.http.get(f"/v1/carts/{cart_id}")).status_code == 200
    assert (await carts.http.head(f"/v1/carts/{cart_id}")).status_code == 200
    assert (await carts.http.options(f"/v1/carts/{cart_id}")).status_code == 204
    assert (await carts.http.get("/nowhere")).status_code == 404
    after = await counted(carts)
    more = {kind: after[kind] - before.get(kind, 0) for kind in after}
    assert {kind: count for kind, count in more.items() if count} == {
        ("POST /v1/carts/{cart_id}/items", "2xx"): 1,
        ("POST /v1/carts/{cart_id}/items", "4xx"): 1,
        ("GET /v1/carts/{cart_id}", "2xx"): 2,
        ("OPTIONS", "2xx"): 1,
        ("none", "4xx"): 1,
        ("GET /metrics", "2xx"): 1,
    }


async def test_the_answers_of_redis_and_kafka_are_timed(carts: CartClient, cart_id: str) -> None:
    names = [f"cartstream_gateway_{kind}_seconds_count" for kind in ("redis", "publish")]
    before = [await sample(carts, name) for name in names]
    assert (await carts.add(cart_id)).headers["preference-applied"] == "durability=kafka"
    after = [await sample(carts, name) for name in names]
    assert [now > then for now, then in zip(after, before, strict=True)] == [True, True]


async def test_outboxes_are_measured_and_the_clocks_compared(carts: CartClient, cart_id: str) -> None:
    assert (await carts.add(cart_id)).status_code == 200
    await until(carts.outbox_is_empty, "outbox empty")

    async def is_empty() -> bool:
        return [
            await sample(carts, f"cartstream_gateway_redis_outbox_{kind}")
            for kind in ("entries", "bytes", "oldest_seconds")
        ] == [0, 0, 0]

    await until(is_empty, "the sweeper has looked")

    async def is_compared() -> bool:
        return abs(await sample(carts, "cartstream_gateway_redis_clock_offset_seconds")) < 5

    await until(is_compared, "one machine has one clock")
