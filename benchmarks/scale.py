"""Each group from one worker to four and back under load: how long partitions stand still, what is lost."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import psutil
import psycopg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console
from rich.table import Table

from benchmarks.group_load import PREFIX, Load
from devstack.embedded import EmbeddedStack
from runtime.kafka.ranges import RangeReader
from runtime.settings import KafkaSettings
from store.postgres import carts
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from topics.codec import decode_cart
from topics.committed import committed_offsets
from topics.groups import COMPACTION, GROUPS, HISTORY_SINK, MERGES, POSTGRES_SINK, REDIS_SINK, Group
from topics.registry import CARTS, PARTITIONS

LOOK_S = 0.05
SETTLE_S = 5.0
WITHIN_S = 180.0
LOOKS_FOR_LOST = 60
COMPONENTS = {
    COMPACTION: "compaction",
    MERGES: "merges",
    POSTGRES_SINK: "sink-postgres",
    REDIS_SINK: "sink-redis",
    HISTORY_SINK: "sink-history",
}
SERVERS = ("redis", "kafka", "postgres", "topics", "migrate")
COMMITS_EACH_S = "0.2"


class Figures(msgspec.Struct, frozen=True):
    """Of one group, in seconds: the longest silence of a partition, undisturbed and in each case.

    `ready_s`: until three more workers are ready.
    """

    undisturbed_s: float
    ready_s: float
    joining_s: float
    killed_and_restarted_s: float
    renewing_s: float
    leaving_s: float
    killed_s: float


Positions = Callable[[], Awaitable[dict[int, int]]]


class Probe:
    """When the position of each partition moved."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._last: dict[int, int] = {}
        self._moves: dict[int, list[float]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            now = time.monotonic()
            for partition, position in (await self._positions()).items():
                if self._last.get(partition) != position:
                    self._last[partition] = position
                    self._moves.setdefault(partition, []).append(now)
            await asyncio.sleep(LOOK_S)

    def silence(self, since: float) -> float:
        """The longest time since then in which some partition did not move."""
        now = time.monotonic()
        longest = 0.0
        for moves in self._moves.values():
            times = [since, *(at for at in moves if at > since), now]
            longest = max(longest, *(b - a for a, b in pairwise(times)))
        return longest


class Extra:
    """`cartstream <command>` beside the stack's own worker of the group."""

    def __init__(self, stack: EmbeddedStack, group: Group, folder: Path, name: str) -> None:
        self._command = [sys.executable, "-m", "cli", *group.command.split()]
        self._ready = folder / f"{name}.ready"
        self._log = folder / f"{name}.log"
        self._environment = {
            **os.environ,
            **stack.urls.environment(),
            "CARTSTREAM_GROUP_INSTANCE_ID": name,
            "CARTSTREAM_READY_FILE": str(self._ready),
            "CARTSTREAM_DATADIR": str(folder / name),
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, workers: int) -> float:
        """Start it with so many workers; seconds until all are ready."""
        began = time.monotonic()
        self._launch(workers)
        await _until(self._ready.exists)
        return time.monotonic() - began

    def _launch(self, workers: int) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--workers", str(workers)],
                env=self._environment,
                stdout=log,
                stderr=log,
                # As the stack's own processes are: Linux may share out CPU by session.
                start_new_session=True,
            )

    @property
    def process(self) -> psutil.Process:
        """What was started."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal and wait for its end."""
        assert self._process is not None
        self._process.send_signal(number)
        await asyncio.to_thread(self._process.wait, WITHIN_S)

    def kill(self) -> None:
        """Kill -9; one that has ended needs nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def complete(self, workers: int) -> None:
        """Returns when one that was missing is back, and all are ready."""
        await _until(lambda: not self._ready.exists())
        await _until(lambda: len(self.process.children()) == workers and self._ready.exists())

    async def renew(self) -> None:
        """SIGHUP; returns when all workers are new and ready."""
        before = {child.pid for child in self.process.children()}
        self.process.send_signal(signal.SIGHUP)

        def renewed() -> bool:
            now = {child.pid for child in self.process.children()}
            return len(now) == len(before) and not now & before and self._ready.exists()

        await _until(renewed)


def run(folder: Path, console: Console, groups: tuple[str, ...] = ()) -> dict[str, Any]:
    """These groups, or all, one after the other; then what was acknowledged is counted in every store."""
    os.environ["CARTSTREAM_COMMIT_INTERVAL_S"] = COMMITS_EACH_S  # the probe sees what is committed
    os.environ["CARTSTREAM_HISTORY"] = "true"
    with EmbeddedStack(folder, only=(*SERVERS, *COMPONENTS.values())) as stack:
        figures, lost = asyncio.run(_measure(stack, folder, console, groups or tuple(COMPONENTS)))
    table = Table("group", *(field.replace("_", " ") for field in Figures.__struct_fields__), title="seconds")
    for group, found in figures.items():
        table.add_row(group, *(f"{value:.1f}" for value in msgspec.structs.astuple(found)))
    console.print(table)
    console.print(f"lost: {lost}")
    return {"groups": {group: msgspec.to_builtins(found) for group, found in figures.items()}, "lost": lost}


async def _measure(
    stack: EmbeddedStack, folder: Path, console: Console, groups: tuple[str, ...]
) -> tuple[dict[str, Figures], dict[str, int]]:
    load = Load(stack.urls.kafka_bootstrap)
    figures = {}
    async with load.running():
        await asyncio.sleep(SETTLE_S)
        for group in GROUPS:
            if group.name in groups:
                figures[group.name] = await _scale(stack, group, folder)
                console.print(f"{group.name}: {figures[group.name]}")
    return figures, await _lost(stack, load.acknowledged)


async def _scale(stack: EmbeddedStack, group: Group, folder: Path) -> Figures:
    name = group.name.removeprefix("cartstream-")
    three, one = (Extra(stack, group, folder, f"{name}-{which}") for which in ("three", "one"))
    async with _positions(stack, group) as positions:
        probe = Probe(positions)
        looking = asyncio.create_task(probe.run())
        try:
            await asyncio.sleep(SETTLE_S)
            undisturbed_s = await _silence(probe, time.monotonic())
            since = time.monotonic()
            ready_s = await three.start(3)
            joining_s = await _silence(probe, since)
            since = time.monotonic()
            three.process.children()[0].kill()
            await three.complete(3)
            killed_and_restarted_s = await _silence(probe, since)
            since = time.monotonic()
            await three.renew()
            renewing_s = await _silence(probe, since)
            since = time.monotonic()
            await three.stop()
            leaving_s = await _silence(probe, since)
            await one.start(1)
            await asyncio.sleep(SETTLE_S)
            since = time.monotonic()
            one.kill()
            killed_s = await _silence(probe, since, SETTLE_S * 4)
        finally:
            looking.cancel()
            three.kill()
            one.kill()
    return Figures(undisturbed_s, ready_s, joining_s, killed_and_restarted_s, renewing_s, leaving_s, killed_s)


async def _silence(probe: Probe, since: float, after_s: float = SETTLE_S) -> float:
    await asyncio.sleep(after_s)
    return probe.silence(since)


@asynccontextmanager
async def _positions(stack: EmbeddedStack, group: Group) -> AsyncIterator[Positions]:
    """How far the group is: committed, or for `sinks redis` in Redis."""
    if group.position_in_redis:
        async with PipelinedClient(RedisSettings(redis_url=stack.urls.redis)) as client:
            store = CartStore(client, Layout(PARTITIONS))

            async def followed() -> dict[int, int]:
                found = await asyncio.gather(*(store.followed(partition) for partition in range(PARTITIONS)))
                return {partition: position or 0 for partition, position in enumerate(found)}

            yield followed
        return
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.urls.kafka_bootstrap)
    await admin.start()

    async def committed() -> dict[int, int]:
        found = await committed_offsets(admin, group.name)
        return {place.partition: offset for place, offset in found.items() if place.topic == group.topic}

    try:
        yield committed
    finally:
        await admin.close()


async def _lost(stack: EmbeddedStack, acknowledged: Counter[str]) -> dict[str, int]:
    """Changes that were acknowledged and are missing, by where: read from each store, once all are quiet."""
    missing: dict[str, Callable[[], Awaitable[Counter[str]]]] = {
        "carts": lambda: _in_carts(stack.urls.kafka_bootstrap),
        "postgres": lambda: _in_postgres(stack.urls.postgres),
        "history": lambda: _rows(
            stack.urls.postgres, "SELECT cart_id, count(*) FROM cart_changes GROUP BY cart_id"
        ),
    }
    lost: dict[str, int] = {}
    for where, read in missing.items():
        for _ in range(LOOKS_FOR_LOST):
            lost[where] = (acknowledged - await read()).total()
            if not lost[where]:
                break
            await asyncio.sleep(1)
    return lost | {"acknowledged": acknowledged.total()}


async def _in_carts(bootstrap: str) -> Counter[str]:
    async with RangeReader(KafkaSettings(kafka_bootstrap=bootstrap)) as reader:
        newest = {}
        bounds = await reader.bounds_of([TopicPartition(CARTS.name, number) for number in range(PARTITIONS)])
        async for records in reader.read(bounds):
            newest.update({record.key: record.value for record in records if record.value is not None})
    found: Counter[str] = Counter()
    for key, value in newest.items():
        with contextlib.suppress(UnicodeDecodeError):
            if key.startswith(PREFIX.encode()):
                found[key.decode()] = decode_cart(value).state.operation_count
    return found


async def _in_postgres(url: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    last = ""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        while ages := await carts.ages_after(connection, last, 1000):
            counted.update({age.cart_id: age.operation_count for age in ages})
            last = ages[-1].cart_id
    return counted


async def _rows(url: str, query: str) -> Counter[str]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await connection.execute(query)
        return Counter({cart_id: int(number) async for cart_id, number in rows})


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110  another process makes it true
            await asyncio.sleep(0.02)
