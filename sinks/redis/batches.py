"""The batches of one restoration: numbered, several in flight at once, every result checked."""

import asyncio
from collections import deque
from typing import Final, Self

import structlog

from sinks.errors import RestoreStartsOver
from sinks.redis import metrics
from sinks.redis.copies import Found
from store.postgres.positions import Position
from store.redis import CartStore, PutOutcome, PutResult, RestoreLost

log = structlog.get_logger(__name__)

BATCH: Final = 200
IN_FLIGHT: Final = 3
"""Batches in flight at once: the next one is read and packed while Redis works."""


class RestoreBatches:
    """What a restoration does to Redis. Each method raises RestoreStartsOver if another one has begun."""

    def __init__(self, store: CartStore, partition: int, token: str) -> None:
        self._store = store
        self._partition = partition
        self._token = token
        self._sequence = 0
        self._row_from = 0
        self._under_way: deque[asyncio.Task[list[PutResult] | RestoreLost]] = deque()
        self.stored = 0
        """Carts put that Redis did not have."""

    async def begin(self, position: int, end: int) -> int:
        """Note that it reads `carts` from `position` to `end`; from where Redis may lack something."""
        self._row_from = end
        since = await self._store.restore_from(self._partition, self._token, self._sequence, position)
        self._sequence += 1
        if isinstance(since, RestoreLost):
            raise RestoreStartsOver
        return since

    async def put(self, states: list[tuple[str, Found]]) -> None:
        """Send states; waits while too many batches are in flight."""
        for at in range(0, len(states), BATCH):
            batch = self._store.restore_put(
                self._partition, self._token, self._sequence, states[at : at + BATCH], self._row_from
            )
            self._under_way.append(asyncio.create_task(batch))
            self._sequence += 1
            while len(self._under_way) > IN_FLIGHT:
                await self._settle()

    async def finish(self, followed: int, rows: Position | None, topic_id: str) -> None:
        """Set the ready marker after the last batch; `rows`: of which the tail was put, none: all was."""
        while self._under_way:
            await self._settle()
        lost = await self._store.restore_finish(
            self._partition,
            self._token,
            self._sequence,
            followed,
            rows_position=None if rows is None else rows.position,
            topic_id=topic_id,
        )
        if lost is not None:
            raise RestoreStartsOver

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for batch in self._under_way:
            batch.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _settle(self) -> None:
        results = await self._under_way.popleft()
        if isinstance(results, RestoreLost):
            raise RestoreStartsOver
        stored = sum(result.outcome is PutOutcome.STORED for result in results)
        self.stored += stored
        metrics.RESTORED.inc(stored)
        if uncovered := [result.cart_id for result in results if result.outcome is PutOutcome.UNCOVERED]:
            # Redis has operations that are still in the outbox or on their way to compaction.
            log.info("restore.uncovered", partition=self._partition, carts=len(uncovered), one=uncovered[0])
