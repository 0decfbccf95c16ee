"""Replaces Faust's recovery by the tables' own replay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog
from faust.tables.recovery import Recovery

from delivery.faust_internals import HookedRecovery, HookedTableManager
from delivery.table import ChangelogTable
from runtime.failstop import fail_stop
from runtime.kafka.ranges import ReadStalled

log = structlog.get_logger(__name__)

CANCELLED_IN_A_ROW: Final = 3
"""So often a recovery that was cancelled is begun anew."""


class ReplayRecovery(HookedRecovery):
    """Faust's recovery cycle, with `ChangelogTable.replay` for its changelog reading.

    It runs outside of the rebalance callback, so heartbeats go on, and is cancelled by the next rebalance.
    """

    _cancelled_in_a_row = 0

    async def supervise(self, restarts: Callable[[Recovery], Awaitable[None]]) -> None:
        """Run Faust's task for the life of the worker, and end the process with it.

        Faust takes a request that times out for its own stop, and a cancelled one for a cancelled task: it
        ends the task without a word. The worker would keep its partitions and process nothing, for good.

        What was cancelled beneath the task, by a client that was closed, is begun anew: the partitions stay,
        and with them what the others of the group do. If that does not help either, the process ends.
        """
        while True:
            try:
                await restarts(self)
            except asyncio.CancelledError:
                if self._is_stopping():
                    raise
                if self._is_cancelled() or self._cancelled_in_a_row >= CANCELLED_IN_A_ROW:
                    self._ended("cancelled")
            except Exception as error:  # noqa: BLE001  (whatever it is, only a new process helps)
                self._ended(repr(error))
            else:
                break
            self._cancelled_in_a_row += 1
            log.warning("recovery.begins_anew", reason="cancelled", times=self._cancelled_in_a_row)
            self.signal_recovery_start.set()
        if not self._is_stopping():
            self._ended("a request to the broker timed out")

    @staticmethod
    def _is_cancelled() -> bool:
        """Whether somebody wants this task to end; else it was something that it waited for."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def _is_stopping(self) -> bool:
        return bool(self.should_stop or self.app.should_stop)

    @staticmethod
    def _ended(reason: str) -> NoReturn:
        fail_stop("recovery.ended", reason=reason)

    def need_recovery(self) -> bool:
        """False: nothing is left for Faust to read."""
        return False

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Replay the tables, then let Faust resume the source partitions."""
        for table in self.tables.values():
            if isinstance(table, ChangelogTable):
                try:
                    await table.replay({tp.partition for tp in self.actives_for_table[table]})
                except ReadStalled as error:
                    # If it were raised, Faust would end the recovery silently and for good.
                    fail_stop("table.replay_stalled", table=table.name, error=str(error))
        self._cancelled_in_a_row = 0
        await super().on_recovery_completed(generation_id)


class ReplayTableManager(HookedTableManager):
    """Faust's table manager with the recovery above."""

    def new_recovery(self) -> ReplayRecovery:
        """The one above."""
        return ReplayRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
