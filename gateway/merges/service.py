"""Merge guests' carts: in the request where that is quickly done, else by the merge agent."""

import asyncio
from functools import partial
from typing import Final

import structlog

from carts.merging import Strategy
from gateway.http.problems import Problem
from gateway.identity.principal import Principal, Scope
from gateway.merges import problems
from gateway.merges.requests import MergeDocument, MergeStatus, document
from gateway.metrics import Metrics
from gateway.postgres.database import Connection, Database
from gateway.settings import GatewaySettings
from merges.handover import hand_over
from merges.saga import GoesOn, MergeWaits, Saga, TooManyLines
from store.postgres import merges
from store.postgres.merges import StoredMerge
from store.redis import StoreError

log = structlog.get_logger(__name__)


class MergeService:
    """Begins merges and tells how far they are."""

    def __init__(self, settings: GatewaySettings, database: Database, saga: Saga, metrics: Metrics) -> None:
        self._settings: Final = settings
        self._database: Final = database
        self._saga: Final = saga
        self._replies: Final = metrics.merges

    async def merge(
        self, cart_id: str, guest: str, strategy: Strategy, principal: Principal
    ) -> MergeDocument:
        """Merge a guest's cart into another one; the merge as it stands then. Raises Problem.

        Asking again goes on with the same merge; its first strategy stays.
        """
        try:
            stored = await self._saga.begin(guest, cart_id, strategy)
        except GoesOn as elsewhere:
            raise problems.goes_on(elsewhere.into) from elsewhere
        into = stored.merge.into
        if into != cart_id:
            raise problems.merged_elsewhere(into if principal.may(into, Scope.CARTS) else None)
        is_new = stored.finished_at is None
        if is_new:
            await self._carry_on(stored)
        found = await self._document(stored.merge.merge_id)
        outcome = "done" if found.status is MergeStatus.DONE else "handed_over"
        self._replies.labels(outcome if is_new else "replayed").inc()
        return found

    async def find(self, merge_id: str, principal: Principal) -> MergeDocument:
        """The merge as it stands. Raises Problem, too where it is not the caller's."""
        found = await self._document(merge_id)
        if not principal.may(found.cart_id, Scope.CARTS):
            raise problems.merge_not_found()
        return found

    async def _carry_on(self, stored: StoredMerge) -> None:
        """Carry the merge on for a moment; what is not done by then is the merge agent's."""
        try:
            async with asyncio.timeout(self._settings.merge_wait_s):
                await self._saga.run(stored, self._settings.merge_lines)
        except (MergeWaits, TooManyLines, Problem, StoreError, TimeoutError) as reason:
            log.info("merge.handed_over", merge_id=stored.merge.merge_id, reason=repr(reason))
            await self._database.transact(partial(hand_over, merge_ids=[stored.merge.merge_id]))

    async def _document(self, merge_id: str) -> MergeDocument:
        async def work(connection: Connection) -> MergeDocument:
            stored = await merges.find(connection, merge_id)
            if stored is None:
                raise problems.merge_not_found()
            return document(stored, await merges.transfers(connection, merge_id))

        return await self._database.transact(work)
