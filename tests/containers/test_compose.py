"""docker-compose.yml for real: the README's walk, processes killed, everything down and up again.

`make test-containers` runs it where a Docker daemon is or can be started. The images are those that
deploy/local/images.env names.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import yaml

from devstack.free_ports import free_ports
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
SLOW_S = 600.0
"""Twenty processes start at once."""

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3000)]


class Compose:
    """The project of docker-compose.yml under a name of its own."""

    def __init__(self, ports: dict[str, str]) -> None:
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        program = ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]
        project = f"cartstream-test-{os.getpid()}"
        self._command = [
            *program,
            *("--project-name", project),
            *("--env-file", str(ROOT / "deploy" / "local" / "images.env")),
        ]
        self._environment = {**os.environ, **ports}

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run a command of it; what it prints. AssertionError with its messages if it fails."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def inspect(self, service: str, what: str) -> str:
        """A field of the service's container."""
        container = self.run("ps", "--quiet", "--all", service).strip()
        return docker("inspect", "--format", what, container).strip()

    def is_healthy(self, service: str) -> bool:
        """Whether it says so itself."""
        return self.inspect(service, "{{.State.Health.Status}}") == "healthy"

    def kill(self, service: str) -> None:
        """Kill -9 its process, as a crash does. What `docker kill` ends Docker does not start again."""
        os.kill(int(self.inspect(service, "{{.State.Pid}}")), signal.SIGKILL)

    def restarts(self, service: str) -> int:
        """How often Docker has started it again."""
        return int(self.inspect(service, "{{.RestartCount}}"))

    def came_back(self, service: str, restarts: int) -> bool:
        """Whether it works again, after more than so many restarts."""
        return self.restarts(service) > restarts and self.is_healthy(service)

    def sql(self, query: str) -> str:
        """What the query answers, its fields separated by |."""
        return self.run(
            *("exec", "-T", "postgres", "psql", "-h", "127.0.0.1", "-U", "cartstream", "-d", "cartstream"),
            *("-At", "-c", query),
        ).strip()


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    names = ("PROXY_PORT", "MAILBOX_PORT", "PROMETHEUS_PORT", "OPS_PORT")
    return {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}


@pytest.fixture(scope="module")
def compose(ports: dict[str, str]) -> Iterator[Compose]:
    """Everything up, and gone afterwards, volumes too."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker daemon answers")
    subprocess.run(["sh", str(ROOT / "deploy" / "compose" / "make-secrets.sh")], check=True)
    project = Compose(ports)
    try:
        project.run("up", "--detach", "--no-build")
        yield project
    finally:
        folder = ROOT / "build"
        folder.mkdir(exist_ok=True)
        (folder / "compose.log").write_text(project.run("logs", "--no-color", check=False))
        project.run("down", "--volumes", "--timeout", "5", check=False)


@pytest.fixture
async def shop(compose: Compose, ports: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy, once the gateways have products."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['PROXY_PORT']}", timeout=10) as client:
        assert compose
        await until(lambda: has_products(client), "products are shown", SLOW_S, every_s=1)
        yield client


async def has_products(client: httpx.AsyncClient) -> bool:
    try:
        answer = await client.get("/v1/products", params={"q": "espresso"})
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and "espresso-cup" in answer.text


async def add(client: httpx.AsyncClient, cart: str) -> httpx.Response:
    """One cup more; tried again with the same key until it is acknowledged, as clients do."""
    headers = {"Idempotency-Key": uuid4().hex}
    body = {"product_id": "espresso-cup", "quantity": 1}

    async def acknowledged() -> httpx.Response | None:
        try:
            answer = await client.post(f"/v1/carts/{cart}/items", json=body, headers=headers)
        except httpx.HTTPError:
            return None
        assert answer.status_code in {200, 502, 503, 504}, answer.text
        return answer if answer.status_code == 200 else None

    found = await until(acknowledged, "an acknowledgement", SLOW_S)
    assert found is not None
    return found


async def cups(client: httpx.AsyncClient, cart: str) -> int:
    answer = await client.get(f"/v1/carts/{cart}")
    assert answer.status_code == 200, answer.text
    return sum(line["quantity"] for line in answer.json()["lines"])


def row(compose: Compose, cart: str) -> int:
    """How many pieces the row of the cart has."""
    return int(compose.sql(f"SELECT coalesce(sum(quantity), 0) FROM cart_lines WHERE cart_id = '{cart}'"))


async def until_row(compose: Compose, cart: str, pieces: int) -> None:
    await until(
        lambda: asyncio.to_thread(lambda: row(compose, cart) == pieces),
        f"{pieces} in the row",
        SLOW_S,
        every_s=1,
    )


async def test_an_add_is_in_kafka_and_becomes_a_row(compose: Compose, shop: httpx.AsyncClient) -> None:
    answer = await add(shop, "user:walk")
    assert answer.headers["preference-applied"] == "durability=kafka"
    assert answer.headers["cart-receipt"].startswith("cart-changed/")
    await until_row(compose, "user:walk", 1)


async def test_every_process_says_that_it_works_and_prometheus_reaches_it(
    compose: Compose, shop: httpx.AsyncClient, ports: dict[str, str]
) -> None:
    assert shop
    services = {
        name
        for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].items()
        if "profiles" not in service and name not in {"topics", "migrate", "products", "prometheus"}
    }

    def unhealthy() -> set[str]:
        return {service for service in services if not compose.is_healthy(service)}

    await until(
        lambda: asyncio.to_thread(lambda: not unhealthy()), "every service is healthy", SLOW_S, every_s=2
    )

    async def reached() -> bool:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}") as prometheus:
            answer = await prometheus.get("/api/v1/query", params={"query": "up"})
        found = {each["metric"]["instance"]: each["value"][1] for each in answer.json()["data"]["result"]}
        return len(found) == 15 and set(found.values()) == {"1"}

    await until(reached, "Prometheus reaches 15 processes", SLOW_S, every_s=2)


async def test_the_operations_page_shows_every_process_as_ready(
    compose: Compose, shop: httpx.AsyncClient, ports: dict[str, str]
) -> None:
    assert compose
    assert shop
    token = (ROOT / "deploy" / "compose" / "secrets" / "ops-token").read_text().strip()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['OPS_PORT']}", timeout=10) as page:

        async def shown() -> bool:
            try:
                answer = await page.get("/ops/api/overview", headers={"Authorization": f"Bearer {token}"})
            except httpx.HTTPError:
                return False
            assert answer.status_code == 200, answer.text
            processes = answer.json()["processes"]
            return len(processes) == 15 and {each["state"] for each in processes} == {"ready"}

        await until(shown, "15 processes are shown as ready", SLOW_S, every_s=2)
        assert (await page.get("/ops/api/overview")).status_code == 401


async def test_no_process_is_root_or_can_write_to_its_image(
    compose: Compose, shop: httpx.AsyncClient
) -> None:
    assert shop
    for service in ("gateway-1", "compaction-1", "jobs-1"):
        said = compose.run("exec", "-T", service, "sh", "-c", "id -u; touch /opt/cartstream/x 2>&1 || true")
        assert said.splitlines()[0] == "10001"
        assert "Read-only file system" in said


@pytest.mark.parametrize(
    "victims", [("gateway-1",), ("compaction-1", "sink-postgres-1", "sink-redis-1", "jobs-1")]
)
async def test_what_is_killed_comes_back_and_nothing_is_lost(
    compose: Compose, shop: httpx.AsyncClient, victims: tuple[str, ...]
) -> None:
    cart = f"user:{victims[0]}"
    await add(shop, cart)
    before = {victim: compose.restarts(victim) for victim in victims}
    for victim in victims:
        compose.kill(victim)
    for _ in range(9):
        await add(shop, cart)
    assert await cups(shop, cart) == 10
    for victim in victims:
        came_back = partial(asyncio.to_thread, compose.came_back, victim, before[victim])
        await until(came_back, f"{victim} works again", SLOW_S, every_s=1)
    await until_row(compose, cart, 10)


async def test_a_redis_that_has_lost_everything_is_filled_again(
    compose: Compose, shop: httpx.AsyncClient
) -> None:
    for _ in range(3):
        await add(shop, "user:wiped")
    wipe = "import redis; redis.Redis.from_url(open('/run/secrets/redis-url').read().strip()).flushall()"
    compose.run("exec", "-T", "jobs-1", "/opt/cartstream/bin/python3", "-c", wipe)
    await add(shop, "user:wiped")
    assert await cups(shop, "user:wiped") == 4


async def test_an_order_is_mailed(compose: Compose, shop: httpx.AsyncClient) -> None:
    await add(shop, "user:buyer")
    placed = await shop.post(
        "/v1/carts/user:buyer/checkout",
        json={"email": "ada@example.org"},
        headers={"Idempotency-Key": uuid4().hex},
    )
    assert placed.status_code in {200, 201}, placed.text

    def mailed() -> bool:
        mails = json.loads(compose.run("exec", "-T", "mailbox", "cartstream", "mailbox", "list", "--json"))
        return [mail["recipient"] for mail in mails] == ["ada@example.org"]

    await until(lambda: asyncio.to_thread(mailed), "the mail", SLOW_S, every_s=1)


async def test_all_down_and_up_again_everything_is_there(
    compose: Compose, ports: dict[str, str], shop: httpx.AsyncClient
) -> None:
    for _ in range(5):
        await add(shop, "user:kept")
    tag = (await shop.get("/v1/carts/user:kept")).json()["version"]
    compose.run("down")
    compose.run("up", "--detach", "--no-build")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['PROXY_PORT']}", timeout=10) as client:
        await until(lambda: has_products(client), "products are shown", SLOW_S, every_s=1)
        kept = (await client.get("/v1/carts/user:kept")).json()
        assert (kept["version"], sum(line["quantity"] for line in kept["lines"])) == (tag, 5)
        await add(client, "user:kept")
        assert await cups(client, "user:kept") == 6
    await until_row(compose, "user:kept", 6)
    said = compose.run("exec", "-T", "jobs-1", "cartstream", "verify", "--json")
    assert json.loads(said)["equal"], said
