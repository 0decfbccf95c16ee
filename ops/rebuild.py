"""Writes all of `carts` to Postgres again, with the sink's own guarded statements."""

from typing import Final

import msgspec
import psycopg
from aiokafka import TopicPartition

from ops.pieces import pieces
from ops.progress import Bars
from runtime.kafka.ranges import RangeReader, Record
from runtime.settings import KafkaSettings
from sinks.data_errors import is_bad_data
from sinks.postgres.batch import Batch, newest, row_change
from sinks.postgres.table import CartsTable
from store.postgres.carts import Deletion, Row
from store.postgres.session import Address
from topics.cart_records import interpret_in_place
from topics.errors import RecordError
from topics.registry import CARTS

BATCH: Final = 2000


class Rebuilt(msgspec.Struct):
    """Records read, rows written or deleted (not those that were current), and records left out."""

    records: int = 0
    written: int = 0
    left_out: list[str] = msgspec.field(default_factory=list)


async def rebuild(
    kafka: KafkaSettings, address: Address, partitions: list[int], count: int, bars: Bars
) -> Rebuilt:
    """Write all of `carts`' partitions given, of `count`; the sink may run meanwhile, doing it again is safe.

    Raises SchemaOutdated, psycopg.Error, TimeoutError, KafkaError, ReadStalled: what was written stays.
    """
    rebuilt = Rebuilt()
    async with RangeReader(kafka) as reader, CartsTable(address) as table:
        for partition in partitions:
            place = TopicPartition(CARTS.name, partition)
            bounds = await reader.bounds(place)
            advance = bars(f"carts/{partition}", bounds.size)
            at = bounds.start
            async for records in reader.read({place: bounds}, batch=BATCH):
                await _write(table, records, count, rebuilt)
                advance(records[-1].offset + 1 - at)
                at = records[-1].offset + 1
            advance(bounds.end - at)
    return rebuilt


async def _write(table: CartsTable, records: list[Record], count: int, rebuilt: Rebuilt) -> None:
    rebuilt.records += len(records)
    understood = [change for record in records if (change := _understood(record, count, rebuilt)) is not None]
    rebuilt.written += await _halving(table, newest(understood), rebuilt)


async def _halving(table: CartsTable, batch: Batch, rebuilt: Rebuilt) -> int:
    """Write the batch; halve it until the rows to blame are alone, and leave those out."""
    try:
        return await table.write(batch)
    except psycopg.Error as error:
        if not is_bad_data(error):
            raise
        if len(batch.rows) == 1 and not batch.deletions:
            rebuilt.left_out.append(f"{batch.rows[0].cart_id}: {error}")
            return 0
    halves = [
        *(Batch(list(part), []) for part in pieces(batch.rows, max(1, len(batch.rows) // 2))),
        Batch([], batch.deletions),
    ]
    return sum([await _halving(table, half, rebuilt) for half in halves])


def _understood(record: Record, count: int, rebuilt: Rebuilt) -> Row | Deletion | None:
    try:
        return row_change(interpret_in_place(record, count))
    except RecordError as error:
        # The sink has made it a dead letter.
        rebuilt.left_out.append(f"{_place(record)}: {error}")
        return None


def _place(record: Record) -> str:
    return f"{CARTS.name}/{record.partition}/{record.offset}"
