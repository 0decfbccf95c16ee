"""Replaces Faust's recovery by the tables' own replay."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn, cast

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from mode import Service

from delivery.table import ChangelogTable
from runtime.failstop import fail_stop
from runtime.kafka.ranges import ReadStalled


class ReplayRecovery(Recovery):
    """Faust's recovery cycle, with `ChangelogTable.replay` for its changelog reading.

    It runs outside of the rebalance callback, so heartbeats go on, and is cancelled by the next rebalance.
    """

    @Service.task
    async def _restart_recovery(self) -> None:
        """Faust's task for the life of the worker, watched.

        Faust takes a request that times out for its own stop, and a cancelled one for a cancelled task: it
        ends the task without a word. The worker would keep its partitions and process nothing, for good.
        """
        # Service.task makes a wrapper of the method, which has no counterpart in `super()`.
        watched = cast(Any, Recovery._restart_recovery).fun  # noqa: SLF001
        try:
            await watched(self)
        except asyncio.CancelledError:
            if not self._is_stopping():
                self._ended("cancelled")
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, only a new process helps)
            self._ended(repr(error))
        if not self._is_stopping():
            self._ended("a request to the broker timed out")

    def _is_stopping(self) -> bool:
        return bool(self.should_stop or self.app.should_stop)

    @staticmethod
    def _ended(reason: str) -> NoReturn:
        fail_stop("recovery.ended", reason=reason)

    def need_recovery(self) -> bool:
        """False: nothing is left for Faust to read."""
        return False

    async def _build_highwaters(self, *_: Any) -> None:
        """Nothing: the replay finds its own bounds, and every question to the broker delays a restart."""

    async def _build_offsets(self, *_: Any) -> None:
        """Nothing, likewise."""

    async def _seek_offsets(self, *_: Any) -> None:
        """Nothing, likewise."""

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Replay the tables, then let Faust resume the source partitions."""
        for table in self.tables.values():
            if isinstance(table, ChangelogTable):
                try:
                    await table.replay({tp.partition for tp in self.actives_for_table[table]})
                except ReadStalled as error:
                    # If it were raised, Faust would end the recovery silently and for good.
                    fail_stop("table.replay_stalled", table=table.name, error=str(error))
        await super().on_recovery_completed(generation_id)


class ReplayTableManager(TableManager):
    """Faust's table manager with the recovery above."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made when it is first asked for, in the running loop."""
        if self._recovery is None:
            self._recovery = ReplayRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
