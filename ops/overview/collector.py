"""Looks at everything again and again, and keeps what was last seen.

While somebody watches, processes, Redis and Postgres are looked at every two seconds; otherwise seldom, for
the curves. Kafka costs more: it is looked at only while somebody watches, and less often.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Self, TypeVar

import msgspec
import structlog

from ops.overview import stores
from ops.overview.document import Letters, Overview, Part, Point
from ops.overview.letters import DeadLetterWatch, letters
from ops.overview.processes import Process, Processes
from ops.overview.settings import OverviewSettings
from ops.overview.traffic import jobs, times, traffic
from ops.overview.troubles import troubles
from ops.running import Failed, explained
from ops.workers import GroupReport, look
from store.postgres import overview as tables
from store.postgres.connection import RenewedConnection
from store.postgres.overview import Tables
from topics.groups import GROUPS, HISTORY_SINK

log = structlog.get_logger(__name__)

T = TypeVar("T")

EVERY_S: Final = 2.0
KAFKA_EVERY_S: Final = 3.0
SELDOM_S: Final = 10.0
WATCHED_S: Final = 15.0
"""Nobody watches when nobody has asked for so long."""
SHOWN: Final = 50
"""Rows of each kind at most."""
_RATES_S: Final = 10.0
_MINUTE_S: Final = 60.0
_WITHIN_S: Final = 20.0
_POSTGRES_S: Final = 5
_POINTS: Final = 300


class Collector:
    """Use as an async context manager; `run` looks until it is cancelled."""

    def __init__(self, settings: OverviewSettings) -> None:
        self._settings: Final = settings
        self._groups: Final = [group for group in GROUPS if settings.history or group.name != HISTORY_SINK]
        self._asking: Final = Processes(settings)
        self._redis_client: Final = stores.Redis(settings)
        self._connection: Final = RenewedConnection(
            settings.postgres_address, name="cartstream-ops", timeout_s=_POSTGRES_S
        )
        self.dead_letters: Final = DeadLetterWatch(settings)
        self._watched_until = 0.0
        self._watched: Final = asyncio.Event()
        self._points: Final[deque[Point]] = deque(maxlen=_POINTS)
        self._processes: list[Process] = []
        self._redis: Part[stores.RedisHealth] = Part()
        self._kafka: Part[stores.KafkaHealth] = Part()
        self._postgres: Part[Tables] = Part()
        self._reports: Part[list[GroupReport]] = Part()
        self._letters: Part[Letters] = Part()

    async def __aenter__(self) -> Self:
        await self._asking.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._asking.__aexit__(*_)
        await self._redis_client.close()
        await self._connection.close()

    def overview(self, since: float = 0.0) -> Overview:
        """What was last seen, with the points after `since`. Whoever asks is watching."""
        self.watch()
        parts = (self._redis, self._kafka, self._postgres, self._reports, self._letters)
        short, minute = self._asking.spans(_RATES_S), self._asking.spans(_MINUTE_S)
        seen = Overview(
            at=time.time(),
            looked=all(part.value is not None or part.error for part in parts),
            troubles=[],
            traffic=traffic(short, minute),
            times=times(minute),
            jobs=jobs(self._asking.latest(), time.time()),
            processes=self._processes,
            redis=self._redis,
            kafka=self._kafka,
            postgres=self._postgres,
            groups=self._reports,
            letters=self._letters,
            points=[point for point in self._points if point.at > since],
        )
        return msgspec.structs.replace(seen, troubles=troubles(seen))

    def watch(self) -> None:
        """Look often from now on, for a while."""
        self._watched_until = time.monotonic() + WATCHED_S
        self._watched.set()

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self.look_at_stores, EVERY_S, SELDOM_S))
            group.create_task(self._again(self.look_at_kafka, KAFKA_EVERY_S, None))
            group.create_task(self._again(self.look_at_letters, KAFKA_EVERY_S, None))

    async def look_at_stores(self) -> None:
        """Look at processes, Redis and Postgres once."""
        self._processes, self._redis, self._postgres = await asyncio.gather(
            self._asking.look(),
            self._part(self._redis, self._redis_client.look()),
            self._part(self._postgres, self._tables()),
        )
        self._points.append(self._point())

    async def look_at_kafka(self) -> None:
        """Look at brokers and groups once."""
        self._kafka = await self._part(self._kafka, stores.look_at_brokers(self._settings))
        if not self._kafka.error:
            reports = look(self._settings, EVERY_S, self._groups)
            self._reports = await self._part(self._reports, reports)

    async def look_at_letters(self) -> None:
        """Look at the dead letters once."""
        self._letters = await self._part(self._letters, self._counted())

    async def _counted(self) -> Letters:
        return letters(await self.dead_letters.open(), self.dead_letters)

    async def _tables(self) -> Tables:
        async with self._connection.use() as connection:
            return await tables.read(connection, SHOWN)

    async def _part(self, before: Part[T], work: Awaitable[T]) -> Part[T]:
        """What the work finds; when it fails, what was there before, and why."""
        try:
            with explained(self._settings):
                async with asyncio.timeout(_WITHIN_S):
                    return Part(await work)
        except Failed as failure:
            return Part(before.value, failure.message)
        except Exception as error:  # noqa: BLE001  one store must not hide the others
            log.warning("overview.look_failed", error=repr(error))
            return Part(before.value, f"it cannot be looked at ({type(error).__name__})")

    async def _again(
        self, look: Callable[[], Awaitable[None]], every_s: float, unwatched_s: float | None
    ) -> None:
        """Look every `every_s` seconds; every `unwatched_s`, or not at all (None), while nobody watches."""
        if unwatched_s is None:
            await self._until_watched(None)
        while True:
            await look()
            await asyncio.sleep(every_s)
            await self._until_watched(unwatched_s)

    async def _until_watched(self, longest_s: float | None) -> None:
        if not self._is_watched():
            self._watched.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(longest_s):
                    await self._watched.wait()

    def _is_watched(self) -> bool:
        return time.monotonic() < self._watched_until

    def _point(self) -> Point:
        short = self._asking.spans(_RATES_S)
        now = traffic(short, short)
        change, redis, reports = now.change, self._redis, self._reports
        lags = [report.lag for report in reports.value or () if report.lag is not None]
        return Point(
            at=round(time.time(), 1),
            changes_per_s=now.changes_per_s,
            reads_per_s=now.reads_per_s,
            p50_ms=change.p50_ms if change else None,
            p99_ms=change.p99_ms if change else None,
            lag=sum(lags) if lags and self._is_watched() else None,
            outbox=sum(each.entries for each in redis.value.outboxes) if redis.value else None,
        )
