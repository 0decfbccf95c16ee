"""The pricing hook: coupons on reads, and no harm when it is slow, wrong or dead."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from carts.state import State
from carts.view import Adjustment, view
from devstack.free_ports import free_ports
from gateway.metrics import Metrics
from gateway.pricing.hook import PricingHook
from gateway.pricing.service import HookAnswer
from tests.gateway.cart_client import CartClient
from tests.gateway.conftest import client_of
from tests.support.processes import GatewayProcess, Process
from tests.support.servers import Urls
from tests.support.waiting import until

CART = view("user:1", State())
FEE = b'{"code": "fee", "amount": 1}'


class HookProcess(Process):
    """`examples/pricing_hook.py` on a port of its own; it is ready when it listens."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/price"
        super().__init__("hook", ["examples/pricing_hook.py", str(self.port)], {}, folder)

    def is_ready(self) -> bool:
        """Whether it listens."""
        with socket.socket() as probe:
            return not self.has_ended() and probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self) -> None:
        """Start it; returns when it listens."""
        self.launch()
        self.wait_ready()


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HookProcess]:
    """The sample hook; tests that harm it mend it."""
    process = HookProcess(tmp_path_factory.mktemp("hook"))
    process.start()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def priced_gateway(
    hook: HookProcess, urls: Urls, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway that asks the hook, patiently: the machine may be slow."""
    environment = {
        **urls.environment(),
        "CARTSTREAM_PRICING_URL": hook.url,
        "CARTSTREAM_PRICING_TIMEOUT_S": "2",
    }
    process = GatewayProcess(environment, tmp_path_factory.mktemp("priced"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def carts(priced_gateway: GatewayProcess, urls: Urls) -> AsyncIterator[CartClient]:
    """A client of that gateway."""
    async with client_of(priced_gateway, urls) as found:
        yield found


async def enter(carts: CartClient, cart_id: str, coupon: str) -> dict[str, Any]:
    """Enter a code; the change's reply."""
    reply = await carts.http.patch(f"/v1/carts/{cart_id}/details", json={"codes": [coupon]})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def codes(cart: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in cart["warnings"]]


async def priced(carts: CartClient, cart_id: str) -> dict[str, Any]:
    """The cart once the hook has answered in its time, of which there may be no more than 2 s."""

    async def answered() -> dict[str, Any] | None:
        cart = await carts.read(cart_id)
        return None if "pricing_unavailable" in codes(cart) else cart

    found: dict[str, Any] | None = await until(answered, "the hook is asked, and answers")
    assert found is not None
    return found


async def counted(carts: CartClient, outcome: str) -> float:
    lines = (await carts.http.get("/metrics")).text.splitlines()
    name = f'cartstream_gateway_pricing_hook_requests_total{{outcome="{outcome}"}} '
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


async def test_a_coupon_is_a_discount_in_the_totals_and_another_tag(carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id, quantity=2)
    await priced(carts, cart_id)
    plain = await carts.http.get(f"/v1/carts/{cart_id}")
    assert plain.headers["etag"] == f'"{plain.json()["version"]}"'
    await enter(carts, cart_id, "SAVE10")
    await priced(carts, cart_id)

    reply = await carts.http.get(f"/v1/carts/{cart_id}")
    assert reply.json()["adjustments"] == [{"code": "coupon-SAVE10", "amount": -399, "target": None}]
    assert reply.json()["totals"] == {"subtotal": 3998, "discount": 399, "tax": 0, "total": 3599}
    assert reply.json()["warnings"] == []
    assert reply.headers["etag"].startswith(f'"{reply.json()["version"]}.')
    again = await carts.http.get(f"/v1/carts/{cart_id}", headers={"if-none-match": reply.headers["etag"]})
    assert again.status_code == 304


async def test_an_unknown_coupon_is_a_warning(carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id)
    await enter(carts, cart_id, "SAVE99")
    cart = await priced(carts, cart_id)
    assert (codes(cart), cart["totals"]["total"]) == (["coupon_unknown"], 1999)


async def test_without_its_hook_a_cart_is_read_and_changed_and_says_what_is_missing(
    carts: CartClient, cart_id: str, hook: HookProcess
) -> None:
    await carts.add(cart_id)
    await enter(carts, cart_id, "SAVE10")
    await priced(carts, cart_id)
    hook.kill()
    try:
        failed, skipped = await counted(carts, "failed"), await counted(carts, "skipped")

        async def costs_nobody_anything() -> bool:
            # Together: of those that come a second apart each may be the one that asks.
            for cart in await asyncio.gather(*(carts.read(cart_id) for _ in range(5))):
                assert (codes(cart), cart["totals"]["total"]) == (["pricing_unavailable"], 1999)
            return await counted(carts, "skipped") > skipped

        await until(costs_nobody_anything, "it is known to be dead")
        assert await counted(carts, "failed") >= failed + 3
        assert (await carts.add(cart_id)).status_code == 200
    finally:
        hook.start()

    cart = await priced(carts, cart_id)
    assert (codes(cart), cart["totals"]["discount"]) == ([], 399)


async def test_a_frozen_hook_holds_nobody_up_for_longer_than_its_time(
    carts: CartClient, cart_id: str, hook: HookProcess
) -> None:
    await carts.add(cart_id)
    hook.send(signal.SIGSTOP)
    try:
        assert codes(await carts.read(cart_id)) == ["pricing_unavailable"]
    finally:
        hook.send(signal.SIGCONT)

    assert codes(await priced(carts, cart_id)) == []


@asynccontextmanager
async def answering(response: bytes) -> AsyncIterator[PricingHook]:
    """A hook that always answers these bytes, and the client of it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(response)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        hook = PricingHook(f"http://127.0.0.1:{port}", 30, Metrics())
        await hook.open()
        try:
            yield hook
        finally:
            await hook.close()


def http(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


@pytest.mark.parametrize(
    "response",
    [
        http("500 Internal Server Error", b"{}"),
        http("200 OK", b"not json"),
        http("200 OK", b'{"adjustments": [{"code": "x", "amount": "1"}]}'),
        http("200 OK", b'{"adjustments": [{"code": "x", "amount": 9007199254740993}]}'),
        http("200 OK", b'{"warnings": [' + b'{"code": "x"},' * 100 + b'{"code": "x"}]}'),
        http("200 OK", b"[" + b" " * 70_000 + b"]"),
        http("200 OK", b'{"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
        http("200 OK", b'{"adjustments": [{"code": "fee\\u0000", "amount": 1}]}'),
        http("200 OK", b'{"adjustments": [{"code": "fee", "amount": 9007199254740991}, ' + FEE + b"]}"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
        b"no http",
        b"",
    ],
)
async def test_an_answer_that_is_none_counts_as_no_answer(response: bytes) -> None:
    async with answering(response) as hook:
        assert await hook.ask(CART) is None


async def test_a_redirection_is_no_answer_and_takes_the_cart_nowhere() -> None:
    asked = asyncio.Event()

    async def elsewhere(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    async with await asyncio.start_server(elsewhere, "127.0.0.1", 0) as other:
        address = f"location: http://127.0.0.1:{other.sockets[0].getsockname()[1]}/".encode()
        for status in (b"307 Temporary Redirect", b"302 Found"):
            response = b"HTTP/1.1 %b\r\ncontent-length: 0\r\n%b\r\n\r\n" % (status, address)
            async with answering(response) as hook:
                assert await hook.ask(CART) is None
    assert not asked.is_set()


async def test_an_answer_may_leave_out_what_it_has_nothing_of() -> None:
    async with answering(http("200 OK", b'{"adjustments": [{"code": "tax-de", "amount": 7}]}')) as hook:
        assert await hook.ask(CART) == HookAnswer([Adjustment("tax-de", 7)], [])
