"""The merge agent: carries on what `cart-merges` names, heavy merges and those that stopped half-way.

A record says which merge, the database says how far it is. What cannot go on for a while is left: the job
`merges` hands it over again.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import psycopg
import structlog
from aiokafka import ConsumerRecord
from faust.types import StreamT
from psycopg_pool import PoolTimeout

from delivery.app import DeliveryApp, create_app
from delivery.consumption import run_batches
from delivery.runs import RunLimits
from merges.catalogue import CachedCatalogue
from merges.saga import MergeWaits, Saga
from runtime.owners import ProductsOwner
from store.postgres import merges
from store.redis import CartStore, Layout, PipelinedClient, StoreError
from streams import merge_metrics
from streams.merge_carts import AgentDatabase, AgentRows, AwaitedCarts
from streams.merge_settings import MergeSettings
from topics.codec import decode_merge
from topics.errors import RecordError, RecordErrorCode
from topics.groups import MERGES
from topics.partitioner import partition_of
from topics.records import MergeRecord
from topics.registry import CART_MERGES

log = structlog.get_logger(__name__)

BATCH_RECORDS: Final = 100
BATCH_SECONDS: Final = 0.05
AGAIN_S: Final = 0.2
_MAY_PASS: Final = (MergeWaits, StoreError, TimeoutError, psycopg.OperationalError, PoolTimeout)


def create_merges(settings: MergeSettings) -> DeliveryApp:
    """The app of the merge agent. Connects to nothing."""
    app = create_app(MERGES, settings, RunLimits(records=BATCH_RECORDS))
    worker = MergeWorker(settings)

    @app.agent(app.source(CART_MERGES.name), name="merges")
    async def carry_on(stream: StreamT[Any]) -> None:
        await worker.open()
        try:
            await run_batches(
                stream,
                worker.carry_on,
                partition_of=partial(partition_of, partitions=settings.partitions_of(CART_MERGES.name)),
                is_data_error=lambda error: isinstance(error, RecordError),
                within_s=BATCH_SECONDS,
                # A merge that waits for a row would keep a worker from leaving, and its group from going on.
                may_be_cut_off=True,
            )
        finally:
            await worker.close()

    return app


class MergeWorker:
    """Carries merges on, several at once."""

    def __init__(self, settings: MergeSettings) -> None:
        self._settings: Final = settings
        self._client: Final = PipelinedClient(settings, name=MERGES, patience_s=settings.merge_seconds)
        self._database: Final = AgentDatabase(settings.postgres_address, settings.merge_parallel)
        layout = Layout(settings.partitions)
        rows = AgentRows(self._database, layout)
        store = CartStore(
            self._client,
            layout,
            lifetime=settings.lifetime,
            outbox_max_bytes=settings.outbox_max_bytes,
            rows=rows,
        )
        self._saga: Final = Saga(
            store,
            self._database,
            AwaitedCarts(store, rows, settings.lifetime),
            CachedCatalogue(
                self._client, callers_name_prices=settings.products_owner is ProductsOwner.CALLER
            ),
        )
        self._turns: Final = asyncio.Semaphore(settings.merge_parallel)

    async def open(self) -> None:
        """Connect. Raises StoreError."""
        await self._client.connect()
        await self._database.open()

    async def close(self) -> None:
        """Disconnect."""
        await self._database.close()
        await self._client.close()

    async def carry_on(self, records: Sequence[ConsumerRecord]) -> None:
        """Carry the merges of a batch on, all for a while. Raises RecordError for an unreadable record.

        Raises psycopg.Error, PoolTimeout and TimeoutError where it cannot be noted that they were taken: the
        batch has to come again, for the job hands them over in minutes only.
        """
        merge_ids = {_read(record).merge_id for record in records}
        # Of the whole batch: the next one waits for it.
        end = asyncio.get_running_loop().time() + self._settings.merge_seconds
        work = (self._carry_on(merge_id, end) for merge_id in merge_ids)
        for failure in await asyncio.gather(*work, return_exceptions=True):
            if failure is not None:
                raise failure

    async def _carry_on(self, merge_id: str, end: float) -> None:
        try:
            async with asyncio.timeout_at(end), self._turns:
                await self._until_done(merge_id)
        except TimeoutError:
            merge_metrics.MERGES.labels("left").inc()
            log.warning("merge.left", merge_id=merge_id)
        await self._database.transact(partial(merges.taken, merge_id=merge_id))

    async def _until_done(self, merge_id: str) -> None:
        while True:
            try:
                stored = await self._database.transact(partial(merges.find, merge_id=merge_id))
                if stored is None:
                    merge_metrics.MERGES.labels("unknown").inc()
                    return
                await self._saga.run(stored)
            except _MAY_PASS as error:
                log.info("merge.waits", merge_id=merge_id, reason=repr(error))
                await asyncio.sleep(AGAIN_S)
            else:
                merge_metrics.MERGES.labels("done").inc()
                return


def _read(record: ConsumerRecord) -> MergeRecord:
    merge = decode_merge(record.value)
    if merge.cart_id.encode() != record.key:
        raise RecordError(RecordErrorCode.INVALID, f"key {record.key!r}, cart {merge.cart_id!r}")
    return merge
