"""The Faust app that writes `carts` to Postgres: a batch of records is one guarded statement."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from faust.types import StreamT

from delivery.app import DeliveryApp, create_app
from delivery.consumption import run_batches
from delivery.runs import RunLimits
from runtime import tracing
from sinks.data_errors import is_data_error
from sinks.postgres import metrics
from sinks.postgres.batch import newest, row_change
from sinks.postgres.positions import Passed, Positions
from sinks.postgres.settings import PostgresSinkSettings
from sinks.postgres.table import CartsTable
from topics.cart_records import interpret
from topics.groups import POSTGRES_SINK
from topics.partitioner import partition_in_carts
from topics.registry import CARTS

log = structlog.get_logger(__name__)


def create_postgres_app(settings: PostgresSinkSettings) -> DeliveryApp:
    """The app of the process `sinks postgres`. Connects to nothing yet."""
    limits = RunLimits(records=settings.sink_batch_records, linger_s=settings.sink_batch_seconds)
    app = create_app(POSTGRES_SINK, settings, limits)
    address = settings.postgres_address
    table, positions = CartsTable(address), Positions(settings, address)

    @app.agent(app.source(CARTS.name, positions.begin), name="write_carts")
    async def write_carts(stream: StreamT[Any]) -> None:
        await run_batches(
            stream,
            partial(write, table, positions),
            partition_of=partial(partition_in_carts, partitions=settings.partitions),
            is_data_error=is_data_error,
        )

    return app


async def write(table: CartsTable, positions: Positions, records: Sequence[ConsumerRecord]) -> None:
    """Write what the records say: of each cart the newest, all or nothing. Idempotent.

    Raises RecordError for an unreadable record, psycopg.Error or TimeoutError when Postgres refuses
    or does not answer.
    """
    said = [interpret(record.key, record.value, record.headers) for record in records]
    batch = newest(map(row_change, said))
    passed = [Passed(record.partition, record.offset, record.timestamp) for record in records]
    with metrics.WRITE_SECONDS.time(), tracing.batch(records):
        changed = await positions.write(table, batch, passed)
    metrics.ROWS.inc(changed)
    metrics.STALE_ROWS.inc(len(batch.rows) + len(batch.deletions) - changed)
    log.debug("sink.written", records=len(records), changed=changed)
