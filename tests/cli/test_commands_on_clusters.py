"""The command line against a cluster, of Valkey and of Redis 7: what operators do while a shop lives."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from devstack.free_ports import free_ports
from devstack.settings import KAFKA, POSTGRES
from tests.cli.test_repartition import (
    Generation,
    Load,
    everything_is_there,
    moved,
    nothing_old_is_left_after_a_drop,
    opened,
    shop_on,
    tell,
)
from tests.support.processes import Process
from tests.support.redis_servers import PRIMARIES, PROGRAMS, ClusterServers, primaries
from tests.support.servers import Servers
from tests.support.waiting import until
from topics.groups import REDIS_SINK

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ASKED_FOR: Final = 3
"""The partition that `restore` is asked for."""


@pytest.fixture(params=PROGRAMS)
def shop(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A shop whose Redis is a cluster."""
    with (
        ClusterServers(tmp_path / "cluster", program=request.param) as cluster,
        shop_on(servers.url(KAFKA), cluster.url, servers.url(POSTGRES)) as variables,
    ):
        yield variables


async def said_by(generation: Generation, *arguments: str) -> str:
    """What a command says, which is content."""
    code, said = await generation.run(*arguments)
    assert code == 0, said
    return said


@asynccontextmanager
async def operations_page(generation: Generation, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The operations page."""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    page = Process(
        "ops", ["-m", "cli", "ops"], {**generation.environment, "CARTSTREAM_OPS_PORT": str(port)}, folder
    )
    page.launch()
    try:
        async with httpx.AsyncClient(base_url=address, timeout=60) as http:

            async def answers() -> bool:
                assert not page.has_ended(), page.tail
                try:
                    return (await http.get("/ops/api/overview")).json()["looked"] is True
                except httpx.TransportError:
                    return False

            await until(answers, "the page has looked at everything")
            yield http
    finally:
        page.kill()


def of_cluster(redis: dict[str, Any], program: str) -> None:
    """The part of an overview is that of a healthy cluster."""
    assert redis["error"] == ""
    assert redis["value"]["role"] == "master"
    assert redis["value"]["restoring"] == []
    assert redis["value"]["version"] == program


async def test_a_shop_is_looked_into_mended_and_moved(
    shop: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(shop, tmp_path) as first, AsyncExitStack() as cleanup:
        load = Load(first.gateway.url)
        async with load.running():
            await load.until_more()
        cart, erased, *_ = [cart for cart, products in load.acknowledged.items() if products]
        await everything_is_there(load, first)
        version = version_of(shop["CARTSTREAM_REDIS_URL"])

        of_cluster(json.loads(await said_by(first, "top", "--json"))["redis"], version)
        async with operations_page(first, tmp_path) as http:
            of_cluster((await http.get("/ops/api/overview")).json()["redis"], version)
            found = (await http.get("/ops/api/carts", params={"id": cart})).json()
        assert found["failures"] == found["differences"] == []
        workers = json.loads(await said_by(first, "workers", "--json"))
        (agent,) = [group for group in workers["groups"] if group["group"].endswith(REDIS_SINK)]
        assert [place["position"] is None for place in agent["partitions"]] == [False] * 16
        shown = await said_by(first, "carts", "show", cart)
        assert all(product in shown for product in load.acknowledged[cart])
        assert "redis." not in shown  # an event of the log
        assert json.loads(await said_by(first, "dlq", "list", "--json"))["dead_letters"] == []
        assert "all 16 partitions are ready" in await said_by(first, "restore", "--partition", str(ASKED_FOR))
        await said_by(first, "erase", erased, "--yes")
        await said_by(first, "verify", "--erased", erased)
        del load.acknowledged[erased]
        load.begun.pop(erased, None)

        async with load.running():
            await load.until_more()
            second = Generation(shop, 2, 48, tmp_path)
            cleanup.callback(second.kill)
            said = await moved(load, first, second)
            await load.until_more()
        await everything_is_there(load, second)
        await nothing_old_is_left_after_a_drop(second)
        await everything_is_there(load, second)
        tell(
            capsys,
            f"Redis {version}, {PRIMARIES} primaries: {said}",
            f"{load.count} adds acknowledged, 0 lost",
        )


def version_of(url: str) -> str:
    """The version that all primaries have."""
    found = set()
    for client in primaries(url):
        with client:
            told = client.info("server")
        found.add(told.get("valkey_version") or told["redis_version"])
    (version,) = found
    return str(version)
