"""Read a record of `carts` for Redis; unreadable ones are counted and skipped."""

import structlog

from runtime.kafka.ranges import Record
from sinks.redis import metrics
from sinks.redis.copies import Found, found_in
from topics.cart_records import interpret_in_place
from topics.errors import RecordError
from topics.records import PurgeFloor

log = structlog.get_logger(__name__)


def understand_cart(record: Record, partitions: int) -> tuple[str, Found] | PurgeFloor | None:
    """The cart id with its state or deletion, or a purge floor; None for a record to skip.

    Unreadable records and those in the wrong partition are skipped: the Postgres sink reads them too and
    sends them to the dead letters.
    """
    try:
        said = interpret_in_place(record, partitions)
        if said is None or isinstance(said, PurgeFloor):
            return said
        return said.cart_id, found_in(said)
    except RecordError as error:
        metrics.UNREADABLE.inc()
        log.warning("carts.unreadable", partition=record.partition, offset=record.offset, error=str(error))
        return None
