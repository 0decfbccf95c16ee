"""Read records of `carts` for Redis; unreadable ones are counted and skipped."""

from collections.abc import Iterable

import structlog

from carts.protocol import Alive, Deleted, keep_recovered
from runtime.kafka.ranges import Record
from sinks.redis import metrics
from sinks.redis.copies import Found, found_in, keep
from topics.cart_records import DeletionRecord, StateRecord, interpret_in_place
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
        _skip(record, error)
        return None


def newest_by_header(records: Iterable[Record], partitions: int) -> dict[str, StateRecord | DeletionRecord]:
    """Of each cart the newest state or deletion in the records, by the version in the headers.

    States are not looked into; one without a version in its headers must be readable, or it is skipped.
    """
    kept: dict[str, tuple[Alive | Deleted, StateRecord | DeletionRecord]] = {}
    for record in records:
        try:
            match said := interpret_in_place(record, partitions):
                case StateRecord():
                    found: Alive | Deleted = Alive(said.version())
                case DeletionRecord():
                    found = Deleted(said.version)
                case _:
                    continue
        except RecordError as error:
            _skip(record, error)
            continue
        before = kept.get(said.cart_id)
        if before is None or keep_recovered(before[0], found) is found:
            kept[said.cart_id] = found, said
    return {cart_id: said for cart_id, (_, said) in kept.items()}


def newest_by_state(records: Iterable[Record], partitions: int) -> dict[str, Found]:
    """The newest state or deletion of each cart in the records, of those that can be read."""
    kept: dict[str, Found] = {}
    for record in records:
        understood = understand_cart(record, partitions)
        if understood is not None and not isinstance(understood, PurgeFloor):
            keep(kept, *understood)
    return kept


def _skip(record: Record, error: RecordError) -> None:
    metrics.UNREADABLE.inc()
    log.warning("carts.unreadable", partition=record.partition, offset=record.offset, error=str(error))
