"""The Faust app that writes every operation of `cart-changed` to Postgres, once."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from faust.types import StreamT

from delivery.app import DeliveryApp, create_app
from delivery.consumption import run_batches
from delivery.runs import RunLimits
from sinks.data_errors import is_data_error
from sinks.history import metrics
from sinks.history.batch import batch_of, change_of
from sinks.history.settings import HistorySinkSettings
from sinks.history.table import HistoryTable
from topics.groups import HISTORY_SINK
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED

log = structlog.get_logger(__name__)


def create_history_app(settings: HistorySinkSettings) -> DeliveryApp:
    """The app of the process `sinks history`. Connects to nothing yet."""
    limits = RunLimits(records=settings.history_batch_records, linger_s=settings.history_batch_seconds)
    app = create_app(HISTORY_SINK, settings, limits)
    table = HistoryTable(settings.postgres_address)

    @app.agent(app.source(CART_CHANGED.name), name="write_history")
    async def write_history(stream: StreamT[Any]) -> None:
        await run_batches(
            stream,
            partial(write, table),
            partition_of=partial(partition_of, partitions=settings.partitions),
            is_data_error=is_data_error,
        )

    return app


async def write(table: HistoryTable, records: Sequence[ConsumerRecord]) -> None:
    """Write the operations of the records, all or nothing. Idempotent.

    Raises RecordError for an unreadable record, psycopg.Error or TimeoutError when Postgres refuses
    or does not answer.
    """
    batch = batch_of(change_of(record.key, record.value) for record in records)
    with metrics.WRITE_SECONDS.time():
        written = await table.write(batch)
    metrics.CHANGES.inc(written.changes)
    metrics.SKIPPED.inc(len(batch.changes) - written.changes)
    metrics.ERASED.inc(written.erased)
    log.debug("history.written", records=len(records), changes=written.changes)
