"""What the records of `carts` say should be in Redis; those that nobody can read are counted and left out."""

import structlog

from runtime.kafka.ranges import Record
from sinks.redis import metrics
from sinks.redis.copies import Found, found_in
from topics.cart_records import interpret_in_place
from topics.errors import RecordError
from topics.records import PurgeFloor

log = structlog.get_logger(__name__)


def understand_cart(record: Record, partitions: int) -> tuple[str, Found] | PurgeFloor | None:
    """The cart a `carts` record is about and what it says of it, or a purge floor; None if it says nothing.

    One that nobody can read, or in the wrong partition, says nothing: the Postgres sink reads it too and
    sends it to the dead letters.
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
