"""One trace leads from the request through Kafka to the row: `make test-traces`, with real processes."""

import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.http import http_client
from tests.support.processes import PRICED_BY_CALLER, GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until
from tests.traces.collector import Collector, Received, shown

pytestmark = pytest.mark.traces

WAY = [
    ("cartstream-gateway", "POST /v1/carts/{cart_id}/items", "server"),
    ("cartstream-gateway", "create cart-changed", "producer"),
    ("cartstream-compaction", "process cart-changed", "consumer"),
    ("cartstream-postgres", "process carts", "consumer"),
]
"""Service, span and kind, from the request to the row; each is the parent of the next one."""


def caller(*, is_sampled: bool = True) -> tuple[str, str]:
    """A trace id, and the `traceparent` of a caller that has begun it."""
    trace_id = uuid4().hex
    return trace_id, f"00-{trace_id}-{uuid4().hex[:16]}-{'01' if is_sampled else '00'}"


async def add(http: httpx.AsyncClient, cart: str, **headers: str) -> httpx.Response:
    body = {"product_id": "cup", "quantity": 1, "unit_price": 1450, "currency": "EUR"}
    reply = await http.post(f"/v1/carts/{cart}/items", json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply


async def whole(collector: Collector, trace_id: str, last: str = "process carts") -> list[Received]:
    """The spans of the trace, once the last of its way has arrived, and those before it."""

    async def arrived() -> bool:
        names = {span.name for span in collector.spans(trace_id)}
        return {last, WAY[0][1]} <= names

    await until(arrived, f"{last} in trace {trace_id}", every_s=0.2)
    return collector.spans(trace_id)


async def test_one_trace_leads_from_the_request_to_the_row(
    http: httpx.AsyncClient, collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    trace_id, traceparent = caller()
    reply = await add(http, f"user:{uuid4().hex}", traceparent=traceparent, prefer="durability=postgres")
    spans = await whole(collector, trace_id)
    with capsys.disabled():
        sys.stdout.write(f"\n{shown(spans)}\n")
    by_name = {(span.service, span.name): span for span in spans}
    way = [by_name[service, name] for service, name, _ in WAY]
    assert [span.kind for span in way] == [kind for _, _, kind in WAY]
    parents = [traceparent.split("-")[2], *(span.span_id for span in way[:-1])]
    assert [span.parent_id for span in way] == parents
    assert way[0].attributes["http.response.status_code"] == 200
    topic, partition, offset = reply.headers["cart-receipt"].split("/")
    folded = way[2].attributes
    assert folded["messaging.destination.name"] == topic
    assert folded["messaging.destination.partition.id"] == partition
    assert folded["messaging.kafka.offset"] == int(offset)


async def test_no_span_names_a_cart(http: httpx.AsyncClient, collector: Collector) -> None:
    (trace_id, traceparent), cart = caller(), f"user:{uuid4().hex}"
    await add(http, cart, traceparent=traceparent)
    spans = await whole(collector, trace_id)
    assert cart not in repr(spans)
    assert cart.removeprefix("user:") not in repr(spans)


async def test_without_a_caller_the_gateway_begins_the_trace(
    http: httpx.AsyncClient, collector: Collector
) -> None:
    before = {span.trace_id for span in collector.spans()}
    await add(http, f"user:{uuid4().hex}")

    async def begun() -> bool:
        return any(span.trace_id not in before and not span.parent_id for span in collector.spans())

    await until(begun, "a trace", every_s=0.2)


async def test_what_the_caller_does_not_sample_leaves_no_span(
    http: httpx.AsyncClient, collector: Collector
) -> None:
    cart = f"user:{uuid4().hex}"
    unsampled, not_to_record = caller(is_sampled=False)
    await add(http, cart, traceparent=not_to_record)
    trace_id, traceparent = caller()
    await add(http, cart, traceparent=traceparent)
    await whole(collector, trace_id)
    assert collector.spans(unsampled) == []


async def test_a_refusal_is_named_by_its_problem(http: httpx.AsyncClient, collector: Collector) -> None:
    trace_id, traceparent = caller()
    path = f"/v1/carts/user:{uuid4().hex}/items"
    reply = await http.post(path, json={"product_id": "cup"}, headers={"traceparent": traceparent})
    assert reply.status_code == 422

    async def arrived() -> bool:
        return bool(collector.spans(trace_id))

    await until(arrived, "the span", every_s=0.2)
    (span,) = collector.spans(trace_id)
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (
        422,
        "invalid-body",
    )
    assert not span.is_error


async def test_a_change_that_waited_in_the_outbox_goes_on_in_its_trace(
    urls: Urls,
    http: httpx.AsyncClient,
    collector: Collector,
    traced: dict[str, str],
    tmp_path: Path,
) -> None:
    assert (await http.get("/health/live")).status_code == 200
    # Without a broker this gateway leaves the change in the outbox; the other one sweeps it.
    environment = {**urls.environment(), **traced, **PRICED_BY_CALLER}
    alone = GatewayProcess(environment | {"CARTSTREAM_KAFKA_BOOTSTRAP": "127.0.0.1:1"}, tmp_path)
    trace_id, traceparent = caller()
    try:
        alone.start()
        async with http_client(alone.url) as cut_off:
            await add(cut_off, f"user:{uuid4().hex}", traceparent=traceparent)
        spans = await whole(collector, trace_id)
    finally:
        alone.kill()
    created = [span for span in spans if span.name == "create cart-changed"]
    assert "sweeper" in {span.attributes["cartstream.publisher"] for span in created}
