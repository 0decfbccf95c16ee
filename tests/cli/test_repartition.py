"""Carts move to another number of partitions while clients change them: nothing is lost or doubled."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from devstack.settings import KAFKA, POSTGRES, REDIS
from tests.support.databases import migrated_database
from tests.support.http import http_client
from tests.support.processes import ROOT, AgentProcess, GatewayProcess, Process
from tests.support.redis_servers import emptied, primaries
from tests.support.servers import Servers
from tests.support.waiting import until

pytestmark = pytest.mark.drill

AGENTS: Final = (("streams", "compaction"), ("sinks", "postgres"), ("sinks", "redis"), ("jobs",))
CLIENTS: Final = 6
LINES: Final = 12
"""Of a cart, before its client begins another one."""
AGAIN_S: Final = 0.05
PATIENTLY: Final = ("--pause-limit", "120")
"""On a machine that has other work."""
STEPS: Final = (
    "making generation",
    "pass 1",
    "writes wait",
    "the outboxes are empty",
    "compaction and the Postgres sink",
    "what was left is copied",
)
"""What the command says before it opens the next generation, in this order."""

Proof = Callable[[tuple[str, ...]], Mapping[str, str]]
"""Variables by which a command of `cartstream`, given by its words, proves to servers who it is."""


def nothing_to_prove(_command: tuple[str, ...]) -> Mapping[str, str]:
    """Servers that let everybody in."""
    return {}


class Generation:
    """The processes of one generation of the topics of carts, and the commands of its environment."""

    def __init__(
        self,
        shop: Mapping[str, str],
        number: int,
        partitions: int,
        folder: Path,
        proof: Proof = nothing_to_prove,
    ) -> None:
        self.number = number
        self._proof = proof
        self.environment = {
            **shop,
            "CARTSTREAM_GENERATION": str(number),
            "CARTSTREAM_PARTITIONS": str(partitions),
            "CARTSTREAM_OTHER_PARTITIONS": "16",
        }
        folder = folder / f"generation-{number}"
        self.gateway = GatewayProcess(self._told(("gateway",)), folder)
        self.agents = [AgentProcess(command, self._told(command), folder) for command in AGENTS]
        self._keeping: asyncio.Task[None] | None = None

    @property
    def processes(self) -> list[Process]:
        """All of them."""
        return [self.gateway, *self.agents]

    def launch(self) -> None:
        """Start them, and wait for nothing."""
        for process in self.processes:
            process.launch()
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """As their supervisor would: on a machine without time to spare an agent takes itself for frozen."""
        while True:
            for agent in self.agents:
                agent.launch_if_asked()
            await asyncio.sleep(AGAIN_S)

    async def until_ready(self) -> None:
        """Wait until all do their work."""
        for process in self.processes:
            await until(process.is_ready, f"{process.name} ready")

    def kill(self) -> None:
        """End them."""
        if self._keeping is not None:
            self._keeping.cancel()
        for process in self.processes:
            process.kill()

    def popen(self, *arguments: str, stderr: int = subprocess.STDOUT) -> "subprocess.Popen[str]":
        """A command that has begun."""
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            env=self._told(arguments),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def _told(self, command: tuple[str, ...]) -> dict[str, str]:
        return {**self.environment, **self._proof(command)}

    async def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code of a command, and what it has said."""
        process = self.popen(*arguments)
        said, _ = await asyncio.to_thread(process.communicate)
        return process.returncode, said


class Load:
    """Clients that add products of their own to carts of their own, by whichever gateway answers."""

    def __init__(self, gateway: str) -> None:
        self.gateways = [gateway]
        self.acknowledged: dict[str, list[str]] = {}
        """Products by cart, of adds that are in Kafka."""
        self.begun: dict[str, str] = {}
        """The product, by cart, of an add that was not answered yet when the load ended."""
        self.longest_s = 0.0
        """The longest time without an acknowledgement."""
        self._last = time.monotonic()

    @property
    def count(self) -> int:
        """How many adds were acknowledged."""
        return sum(map(len, self.acknowledged.values()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Clients that add until the end of the block."""
        self._last = time.monotonic()
        tasks = [asyncio.create_task(self._shop()) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended

    async def until_more(self, adds: int = 50) -> None:
        """Wait until so many more were acknowledged."""
        before = self.count
        await until(lambda: self.count >= before + adds, f"{adds} more adds are acknowledged")

    async def _shop(self) -> None:
        while True:
            cart = f"user:{uuid4().hex}"
            self.acknowledged[cart] = []
            for number in range(LINES):
                self.begun[cart] = product = f"p-{number}"
                await self._add(cart, product)
                self.acknowledged[cart].append(product)
                del self.begun[cart]
                self.longest_s = max(self.longest_s, time.monotonic() - self._last)
                self._last = time.monotonic()

    async def _add(self, cart: str, product: str) -> None:
        """Try with one key until the add is in Kafka."""
        headers = {"Idempotency-Key": uuid4().hex}
        item = {"product_id": product, "quantity": 1, "unit_price": 100, "currency": "EUR"}
        attempt = 0
        while True:
            url = self.gateways[attempt % len(self.gateways)]
            attempt += 1
            try:
                async with httpx.AsyncClient(base_url=url, timeout=20, verify=False) as http:
                    reply = await http.post(f"/v1/carts/{cart}/items", json=item, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_S)
                continue
            assert reply.status_code in {200, 201, 503}, reply.text
            if reply.is_success and "durability=kafka" in reply.headers.get("preference-applied", ""):
                return
            await asyncio.sleep(AGAIN_S)


@pytest.fixture
def shop(servers: Servers) -> Iterator[dict[str, str]]:
    """A shop on the session's servers."""
    with shop_on(servers.url(KAFKA), servers.url(REDIS), servers.url(POSTGRES)) as variables:
        yield variables


@contextmanager
def shop_on(kafka_bootstrap: str, redis_url: str, postgres_url: str) -> Iterator[dict[str, str]]:
    """The variables of a shop with a database and a prefix of its own; its Redis is empty."""
    with migrated_database(postgres_url) as database:
        yield {
            "PATH": "/usr/bin:/bin",
            "CARTSTREAM_PREFIX": f"moved-{uuid4().hex[:8]}",
            "CARTSTREAM_KAFKA_BOOTSTRAP": kafka_bootstrap,
            "CARTSTREAM_REDIS_URL": emptied(redis_url),
            "CARTSTREAM_POSTGRES_URL": database,
            "CARTSTREAM_PRODUCTS_OWNER": "caller",
            "CARTSTREAM_ORDERS_OWNER": "external",
            "CARTSTREAM_SESSION_TIMEOUT_S": "6",
        }


@asynccontextmanager
async def opened(
    shop: Mapping[str, str], folder: Path, proof: Proof = nothing_to_prove
) -> AsyncIterator[Generation]:
    """The first generation with 16 partitions, at work until the end of the block."""
    first = Generation(shop, 1, 16, folder, proof)
    code, said = await first.run("topics", "apply", "--allow-single")
    assert code == 0, said
    try:
        first.launch()
        await first.until_ready()
        yield first
    finally:
        first.kill()


async def everything_is_there(load: Load, generation: Generation) -> None:
    """Each acknowledged add is in its cart once, no other one is, and the stores agree."""
    async with http_client(generation.gateway.url) as http:
        for cart, products in load.acknowledged.items():
            if not products:
                continue

            async def fresh(cart: str = cart) -> dict[str, Any] | None:
                reply = await http.get(f"/v1/carts/{cart}")
                is_fresh = reply.status_code == 200 and reply.headers.get("cart-freshness") != "stale"
                return reply.json() if is_fresh else None

            found = await until(fresh, f"{cart} is read")
            assert found is not None
            quantities = {line["product_id"]: line["quantity"] for line in found["lines"]}
            unanswered = quantities.pop(load.begun.get(cart, ""), 1)
            assert (quantities, unanswered) == (dict.fromkeys(products, 1), 1), cart

    async def verified() -> bool:
        process = generation.popen("verify", "--json", stderr=subprocess.DEVNULL)
        said, _ = await asyncio.to_thread(process.communicate)
        return process.returncode == 0 and json.loads(said)["in_redis"] > 0

    await until(verified, "Redis, Kafka and Postgres agree")


async def moved(load: Load, now: Generation, following: Generation) -> str:
    """Move carts under load from one generation to another; what the command said."""
    before, target = (each.environment["CARTSTREAM_PARTITIONS"] for each in (now, following))
    code, said = await now.run("topics", "repartition", before, target, "--dry-run")
    assert code == 0, said
    assert f"CARTSTREAM_GENERATION={following.number} CARTSTREAM_PARTITIONS={target}" in said
    following.launch()
    load.gateways = [now.gateway.url, following.gateway.url]
    load.longest_s = 0.0
    code, moved = await now.run("topics", "repartition", before, target, *PATIENTLY)
    assert code == 0, moved
    assert "0 records left out" in moved
    await load.until_more()
    again, said = await now.run("topics", "repartition", before, target)
    assert again == 0, said
    assert f"carts are in generation {following.number}" in said
    refused, said = await now.run("topics", "repartition", "--take-back")
    assert refused == 1, said
    now.kill()
    load.gateways = [following.gateway.url]
    await following.until_ready()
    code, said = await following.run("topics", "check", "--allow-single")
    assert code == 0, said
    assert f"generation {following.number} of the topics of carts: {target} partitions, live" in said
    assert f"generation {now.number} of the topics of carts: {before} partitions, closed" in said
    return f"{before} to {target}: {load.longest_s:.1f} s without an acknowledged write\n{moved}"


async def test_carts_move_to_48_partitions_and_back_to_16_under_load(
    shop: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(shop, tmp_path) as first, AsyncExitStack() as cleanup:
        load = Load(first.gateway.url)
        async with load.running():
            await load.until_more()
            second = Generation(shop, 2, 48, tmp_path)
            cleanup.callback(second.kill)
            said = [await moved(load, first, second)]
            await load.until_more()
            third = Generation(shop, 3, 16, tmp_path)
            cleanup.callback(third.kill)
            said.append(await moved(load, second, third))
            await load.until_more()
        await everything_is_there(load, third)
        tell(capsys, *said, f"{load.count} adds acknowledged, 0 lost, 0 doubled")
        await nothing_old_is_left_after_a_drop(third)
        async with load.running():
            await load.until_more()
        await everything_is_there(load, third)


async def nothing_old_is_left_after_a_drop(last: Generation) -> None:
    """Drop the generations before the last one."""
    code, said = await last.run("topics", "repartition", "--drop-old")
    assert code == 0, said
    gone = [
        rf"generation {number} is gone: its topics, and \d+ keys in Redis" for number in range(1, last.number)
    ]
    assert re.search("\n".join(gone), said), said
    prefix = last.environment["CARTSTREAM_PREFIX"]
    old = "|".join(["", *(f"G{number}:" for number in range(2, last.number))])
    for store in primaries(last.environment["CARTSTREAM_REDIS_URL"]):
        with store:
            left = [key.decode() for key in store.scan_iter(f"{prefix}:*", count=1000)]
        assert [key for key in left if re.match(rf"{prefix}:(?:{old}){{\d+}}:", key)] == []
    code, said = await last.run("topics", "check", "--allow-single")
    assert code == 0, said
    assert "generation 1" not in said


def tell(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    """Print figures."""
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")


async def test_a_command_that_is_killed_at_any_step_is_run_again_and_loses_nothing(
    shop: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(shop, tmp_path) as first, AsyncExitStack() as cleanup:
        load = Load(first.gateway.url)
        async with load.running():
            await load.until_more()
            second = Generation(shop, 2, 48, tmp_path)
            cleanup.callback(second.kill)
            second.launch()
            load.gateways = [first.gateway.url, second.gateway.url]
            for step in STEPS:
                await killed_at(step, first)
                if step in STEPS[::2]:
                    code, said = await first.run("topics", "repartition", "--take-back")
                    if code and "nothing can be taken back" in said:
                        break
                    assert code == 0, said
                    await load.until_more()
            code, said = await first.run("topics", "repartition", "16", "48", *PATIENTLY)
            assert code == 0, said
            first.kill()
            load.gateways = [second.gateway.url]
            await second.until_ready()
            await load.until_more()
        await everything_is_there(load, second)
        tell(capsys, f"{load.count} adds acknowledged, 0 lost, 0 doubled, {len(STEPS)} commands killed")


async def killed_at(step: str, generation: Generation) -> None:
    """Run the command and kill -9 it as soon as it has said so."""
    process = generation.popen("topics", "repartition", "16", "48", *PATIENTLY)
    assert process.stdout is not None
    said: list[str] = []
    while True:
        line = await asyncio.to_thread(process.stdout.readline)
        assert line, f"it ended without saying {step!r}: {said}"
        said.append(line)
        if step in line:
            break
    process.kill()
    await asyncio.to_thread(process.wait)
    process.stdout.close()


async def test_what_cannot_follow_stops_nothing_and_what_takes_too_long_is_taken_back(
    shop: dict[str, str], tmp_path: Path
) -> None:
    async with opened(shop, tmp_path) as first:
        load = Load(first.gateway.url)
        async with load.running():
            await load.until_more()
            compaction, *_ = first.agents
            compaction.kill()
            code, said = await first.run("topics", "repartition", "16", "48")
            assert code == 1, said
            assert "has not folded all changes: does compaction run?" in said
            assert "writes wait" not in said
            compaction.launch()
            await until(compaction.is_ready, "compaction is ready")
            await until(partial(is_taken_back_after_0_1_s, first), "writes have waited")
            await load.until_more()
            code, said = await first.run("topics", "check", "--allow-single")
            assert code == 0, said
            assert "generation 2" not in said
        await everything_is_there(load, first)


async def is_taken_back_after_0_1_s(generation: Generation) -> bool:
    """Whether writes have waited; not as long as compaction has to catch up with what came without it."""
    code, said = await generation.run("topics", "repartition", "16", "48", "--pause-limit", "0.1")
    assert code == 1, said
    assert "writes have waited for 0.1 s" in said or "no write waited" in said, said
    return "writes have waited for 0.1 s" in said


async def test_commands_that_cannot_be_are_refused(shop: dict[str, str], tmp_path: Path) -> None:
    first = Generation(shop, 1, 16, tmp_path)
    for arguments, sentence in {
        ("32", "48"): "CARTSTREAM_PARTITIONS says 16, not 32",
        ("16", "16"): "carts have 16 partitions already",
        ("16", "0"): "0 is not in the range",
        ("16",): "say how many partitions",
        ("16", "48", "--drop-old"): "stand alone",
        ("16", "48", "--dry-run"): "there is no generation 1",
    }.items():
        code, said = await first.run("topics", "repartition", *arguments)
        assert code in {1, 2}, said
        assert sentence in said
        assert "Traceback" not in said
    second = Generation(shop, 2, 48, tmp_path)
    code, said = await second.run("topics", "apply", "--allow-single")
    assert code == 1, said
    assert "made by" in said
