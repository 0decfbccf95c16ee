"""What a lost store costs: seconds until changes are taken again and all agree, and what is missing then.

Each disaster strikes under load: a store is killed and its disk emptied, or put back to a backup. The
commands of `docs/how-to/recover-a-lost-store.md` follow at once. Acknowledged are changes of which the
gateway has said that Kafka has them; they are counted by the clients.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.produce import copies, produce
from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES, REDIS
from devstack.spec import RestartPolicy

CARTS = 20_000
WRITERS = 8
PAUSE_S = 0.04
LOAD_S = 20.0
WITHIN_S = 600.0
POLL_S = 0.05
COMPONENTS = (
    *(REDIS, KAFKA, POSTGRES, "topics", "migrate"),
    *("gateway", "compaction", "sink-postgres", "sink-redis", "jobs"),
)
AGENTS = ("gateway", "jobs", "sink-redis", "sink-postgres", "compaction")
"""In the order in which they are stopped."""
ITEM = {"product_id": "sku", "quantity": 1, "unit_price": 1999, "currency": "EUR"}


class Aftermath(msgspec.Struct, frozen=True):
    """Seconds from the loss until a change was acknowledged again, and until `cartstream verify` was green.

    Of the changes `acknowledged`, before the loss and after, `lost` are missing in their carts and `doubled`
    are there twice. `lost_s`: how long before the loss the oldest lost one was acknowledged, at most.
    """

    first_write_s: float
    agree_s: float
    acknowledged: int
    lost: int
    doubled: int
    lost_s: float


class Shop:
    """A running stack that is hurt and mended, with the operator's commands."""

    def __init__(self, stack: EmbeddedStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._backup = self._folder / "backup"
        self.gateway = stack.urls.gateway
        self.lost_at = 0.0
        """When the first server was dead."""

    def lose(self, *servers: str) -> None:
        """Kill the servers and empty their disks; they stay down."""
        for name in servers:
            self._stack.component(name).kill()
            self.lost_at = self.lost_at or time.monotonic()
            self._stack.component(name).stop()
            shutil.rmtree(self._folder / name)

    def start(self, *components: str) -> None:
        """Start what was stopped, one after the other."""
        for name in components:
            self._stack.component(name).start()

    def stop(self, *components: str) -> None:
        """Stop gently."""
        for name in components:
            self._stack.component(name).stop()

    def back_up(self) -> None:
        """Copy Postgres as it is now."""
        self.stop(POSTGRES)
        subprocess.run(["cp", "-a", self._folder / POSTGRES, self._backup], check=True)
        self.start(POSTGRES)

    def put_back(self) -> None:
        """Postgres is what it was when it was copied."""
        self.lose(POSTGRES)
        self._backup.rename(self._folder / POSTGRES)
        self.start(POSTGRES)

    def run(self, *arguments: str) -> int:
        """`cartstream …` to its end; its exit code."""
        environment = os.environ | self._stack.urls.environment() | {"CARTSTREAM_REDIS_TIMEOUT_S": "20"}
        command = [sys.executable, "-m", "cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


class Clients:
    """Add pieces to carts of their own, and remember when Kafka had each."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._round = 0
        self.acknowledged: defaultdict[str, list[float]] = defaultdict(list)
        self.last_began = 0.0

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write meanwhile; at the end every change that was begun is acknowledged."""
        self._round += 1
        stop = asyncio.Event()
        async with (
            httpx.AsyncClient(base_url=self._gateway, timeout=10) as http,
            asyncio.TaskGroup() as group,
        ):
            for number in range(WRITERS):
                group.create_task(self._write(http, number, stop))
            try:
                yield
            finally:
                stop.set()

    async def _write(self, http: httpx.AsyncClient, number: int, stop: asyncio.Event) -> None:
        turn = 0
        while not stop.is_set():
            await self._add(http, f"user:disaster-{number}-{turn % 50}", f"{self._round}-{number}-{turn}")
            turn += 1
            await asyncio.sleep(PAUSE_S)

    async def _add(self, http: httpx.AsyncClient, cart_id: str, key: str) -> None:
        while True:
            began = time.monotonic()
            try:
                answer = await http.post(
                    f"/v1/carts/{cart_id}/items", json=ITEM, headers={"idempotency-key": key}
                )
            except httpx.TransportError:
                await asyncio.sleep(POLL_S)
                continue
            if answer.headers.get("preference-applied") == "durability=kafka":
                self.acknowledged[cart_id].append(time.monotonic())
                self.last_began = began
                return
            await asyncio.sleep(POLL_S)

    async def aftermath(self, lost_at: float, first_write_s: float, agree_s: float) -> Aftermath:
        """Compare what the carts hold with what was acknowledged."""
        lost = doubled = 0
        oldest = 0.0
        async with httpx.AsyncClient(base_url=self._gateway, timeout=30) as http:
            for cart_id, times in self.acknowledged.items():
                cart = (await http.get(f"/v1/carts/{cart_id}")).raise_for_status().json()
                missing = len(times) - sum(line["quantity"] for line in cart["lines"])
                lost += max(missing, 0)
                doubled += max(-missing, 0)
                if missing > 0:
                    before = [at for at in times if at < lost_at][-missing:]
                    oldest = max(oldest, lost_at - before[0])
        total = sum(map(len, self.acknowledged.values()))
        return Aftermath(first_write_s, agree_s, total, lost, doubled, oldest)


def _postgres_back(shop: Shop) -> None:
    shop.put_back()


def _redis(shop: Shop) -> None:
    shop.lose(REDIS)
    shop.start(REDIS)


def _kafka(shop: Shop) -> None:
    shop.lose(KAFKA)
    _carts_from_postgres(shop)


def _all_but_postgres(shop: Shop) -> None:
    shop.lose(KAFKA, REDIS)
    shop.start(REDIS)
    _carts_from_postgres(shop)


def _carts_from_postgres(shop: Shop) -> None:
    shop.stop(*AGENTS)
    shop.start(KAFKA)
    _expect(shop.run("topics", "apply", "--allow-single"))
    shop.start("compaction")
    _expect(shop.run("restore", "--from", "postgres"))
    shop.start("sink-postgres", "sink-redis", "jobs", "gateway")
    shop.run("verify", "--repair")


def _all_but_kafka(shop: Shop) -> None:
    shop.lose(REDIS, POSTGRES)
    shop.start(REDIS, POSTGRES)
    _expect(shop.run("migrate"))


def _expect(status: int) -> None:
    if status != 0:
        raise RuntimeError(f"a command of the recovery ended with {status}")


BACKUP = "Postgres back to a backup"
DISASTERS: dict[str, Callable[[Shop], None]] = {
    BACKUP: _postgres_back,
    "Redis lost": _redis,
    "Kafka lost": _kafka,
    "Redis and Postgres lost": _all_but_kafka,
    "Redis and Kafka lost": _all_but_postgres,
}


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Each disaster on a stack of its own with 20,000 carts, under about 150 changes a second."""
    found: dict[str, Aftermath] = {}
    for turn, name in enumerate(DISASTERS):
        data = folder / str(turn)
        stack = EmbeddedStack(data, only=COMPONENTS, policy=RestartPolicy.ALWAYS)
        stack.open()
        try:
            stack.ensure("topics")
            produce(stack.urls.kafka_bootstrap, copies(CARTS, CARTS))
            stack.ensure(*COMPONENTS)
            found[name] = asyncio.run(_strike(Shop(stack, data.resolve()), name))
        finally:
            stack.stop()
        shutil.rmtree(data)
        console.print(f"{name}: {found[name]}")
    _print(console, found)
    return {name: msgspec.to_builtins(each) for name, each in found.items()}


async def _strike(shop: Shop, name: str) -> Aftermath:
    await _until(lambda: _agree(shop))
    if name == BACKUP:
        await asyncio.to_thread(shop.back_up)
    clients = Clients(shop.gateway)
    async with clients.writing():
        await asyncio.sleep(LOAD_S)
        mended = asyncio.create_task(asyncio.to_thread(DISASTERS[name], shop))
        await _until(lambda: _has_written(shop, clients))
        first_write_s = time.monotonic() - shop.lost_at
        await mended
    await _until(lambda: _agree(shop))
    return await clients.aftermath(shop.lost_at, first_write_s, time.monotonic() - shop.lost_at)


async def _has_written(shop: Shop, clients: Clients) -> bool:
    """Whether a change was acknowledged that was begun after the loss."""
    return 0 < shop.lost_at < clients.last_began


async def _agree(shop: Shop) -> bool:
    return await asyncio.to_thread(shop.run, "verify") == 0


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(POLL_S)


def _print(console: Console, found: dict[str, Aftermath]) -> None:
    table = Table(title=f"Disasters with {CARTS} carts under load")
    table.add_column("what happened")
    for heading in ("first write, s", "all agree, s", "acknowledged", "lost", "doubled", "of the last, s"):
        table.add_column(heading, justify="right")
    for name, each in found.items():
        table.add_row(
            name,
            f"{each.first_write_s:.1f}",
            f"{each.agree_s:.1f}",
            *(str(number) for number in (each.acknowledged, each.lost, each.doubled)),
            f"{each.lost_s:.1f}",
        )
    console.print(table)
