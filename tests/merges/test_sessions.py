"""A monolith's sessions in production mode: a session whose id changes keeps its lines."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.merges.conftest import running_gateway, until_all_works
from tests.merges.merge_client import MergeClient
from tests.support.http import http_client
from tests.support.processes import AgentProcess, GatewayProcess
from tests.support.production import PRODUCTION, bearer
from tests.support.servers import Urls

SERVICE = bearer("shop", "carts")


@pytest.fixture(scope="module")
def gateway(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway in production mode."""
    with running_gateway({**environment, **PRODUCTION}, tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture
async def client(
    gateway: GatewayProcess, agents: dict[str, AgentProcess], urls: Urls
) -> AsyncIterator[MergeClient]:
    """The shop's own service: it may read and change every cart."""
    await until_all_works(agents, urls)
    async with http_client(gateway.url) as http:
        http.headers.update(SERVICE)
        yield MergeClient(http, urls)


class Browser:
    """A browser with a session cookie, before the shop: the shop calls the gateway for it."""

    def __init__(self, client: MergeClient, url: str, session: str) -> None:
        self._client = client
        self._url = url
        self.session = session
        self.proof = {"cart-session": session}

    async def cart(self) -> str:
        """The id of its cart."""
        async with http_client(self._url) as http:
            return str((await http.get("/v1/carts/me", headers=self.proof)).json()["cart_id"])

    async def add(self, product_id: str, quantity: int) -> None:
        """Put pieces into its cart; there is no catalogue, so the shop names the price."""
        await self._client.add(await self.cart(), product_id, quantity)

    async def become(self, proof: dict[str, str]) -> str:
        """Go on with another proof; the cart goes along, soon if not at once. The id of the merge."""
        async with http_client(self._url) as http:
            for _ in range(2):  # once more: as if the first answer had been lost
                reply = await http.post("/v1/carts/me/merge", json={"session": self.session}, headers=proof)
                assert reply.status_code in {200, 202}, reply.text
        self.session, self.proof = proof.get("cart-session", ""), proof
        return str(reply.json()["merge_id"])


async def test_a_session_that_gets_another_id_keeps_its_lines(
    client: MergeClient, gateway: GatewayProcess
) -> None:
    mark = client.mark
    browser = Browser(client, gateway.url, f"{mark}-1")
    await browser.add("mug", 1)
    first = await browser.cart()
    await browser.become({"cart-session": f"{mark}-2"})
    second = await browser.cart()
    assert second != first
    await browser.add("shirt", 2)
    await browser.become({"cart-session": f"{mark}-3"})
    await browser.add("mug", 3)
    third = await browser.cart()
    await browser.become(bearer(f"ada-{mark}"))
    assert await browser.cart() == f"user:ada-{mark}"
    for cart in (first, second, third):
        ((merge_id,),) = await client.rows("SELECT merge_id FROM merges WHERE guest = %s", (cart,))
        await client.done(merge_id)
    assert (await client.read(first))["merged_into"] == second
    assert await client.quantities(await browser.cart()) == {"mug": 4, "shirt": 2}


async def test_an_old_session_that_comes_back_finds_its_cart_merged(
    client: MergeClient, gateway: GatewayProcess
) -> None:
    browser = Browser(client, gateway.url, f"{client.mark}-1")
    await browser.add("mug", 1)
    first, old = await browser.cart(), browser.proof
    await client.done(await browser.become({"cart-session": f"{client.mark}-2"}))
    second, body = await browser.cart(), {"session": browser.session}
    async with http_client(gateway.url) as http:
        back = await http.post("/v1/carts/me/merge", json=body, headers=old)
        assert (back.status_code, back.json()["type"]) == (409, "/problems/cart-merged")
        late = await http.delete("/v1/carts/me/items/mug", headers=old)
        assert (late.status_code, late.json()["into"]) == (409, second)
    assert await client.quantities(first) == {}
    assert await client.quantities(second) == {"mug": 1}


async def test_a_secret_that_stays_in_the_session_needs_no_merge(
    client: MergeClient, gateway: GatewayProcess
) -> None:
    """It is in the session's data, which a new id does not change; the shop sends it instead of the id."""
    browser = Browser(client, gateway.url, f"{client.mark}-kept in the session")
    await browser.add("mug", 1)
    again = Browser(client, gateway.url, f"{client.mark}-kept in the session")
    await again.add("mug", 2)
    assert await client.quantities(await browser.cart()) == {"mug": 3}
    await client.done(await again.become(bearer(f"bob-{client.mark}")))
    assert await client.quantities(await again.cart()) == {"mug": 3}
