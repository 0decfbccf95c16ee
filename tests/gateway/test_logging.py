"""A guest's token is its key to the cart: it stands in no log."""

from collections.abc import Callable
from uuid import uuid4

from tests.gateway.conftest import client_of
from tests.support.processes import GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until


async def test_access_log_and_failures_show_guest_carts_without_their_token(
    breakable: Urls, start_gateway: Callable[..., GatewayProcess]
) -> None:
    gateway = start_gateway(CARTSTREAM_ACCESS_LOG="true")
    token = f"secret-{uuid4().hex}"
    async with client_of(gateway, breakable) as carts:
        assert (await carts.add(f"guest:{token}")).status_code == 200
        assert (await carts.http.get(f"/v1/carts/guest%3A{token}")).status_code == 200
        assert (await carts.http.get(f"/v1/carts/%67ues%74:{token}")).status_code == 200
        # A key of a wrong type: what no retry mends is logged with the path.
        await carts.store._client.execute("DEL", carts.layout.of_cart(f"guest:{token}").cart)  # noqa: SLF001
        await carts.store._client.execute("SET", carts.layout.of_cart(f"guest:{token}").cart, "x")  # noqa: SLF001
        assert (await carts.http.get(f"/v1/carts/guest:{token}")).status_code == 500

    async def is_logged() -> bool:
        printed = gateway.log.read_text()
        return "gateway.request_failed" in printed and printed.count("/v1/carts/guest:***") >= 4

    await until(is_logged, "failure and requests logged")
    assert token not in gateway.log.read_text()
