"""What was done to a cart: its operations, a page at a time, from the history or from `cart-changed`."""

from typing import Final

import msgspec
from aiokafka import TopicPartition

from carts.view import time_of
from ops.lookup.found import Event, Past, event_of, event_of_record
from ops.progress import Bars
from runtime.kafka.ranges import OffsetRange, RangeReader
from store.postgres import history
from store.postgres.history import NEWEST, Position
from store.postgres.session import SessionConnection
from topics.registry import CART_CHANGED

LATEST: Final = Position(NEWEST, "")
"""Every operation is before it."""


def position_of(text: str) -> Position:
    """The position that `position_text` has written. Raises ValueError."""
    version, separator, op_id = text.partition(":")
    if not (separator and version.isdecimal() and int(version) <= NEWEST):
        raise ValueError(f"{text!r} is no place in the past of a cart: use what the page before has named")
    return Position(int(version), op_id)


def position_text(position: Position) -> str:
    """A position for people: `version:op_id`."""
    return f"{position.version}:{position.op_id}"


class PastPage:
    """The newest events before a position, of records in any order, each operation once. Pure."""

    def __init__(self, before: Position, limit: int) -> None:
        self._before: Final = before
        self._limit: Final = limit
        self._events: dict[Position, Event] = {}

    def take(self, event: Event) -> None:
        """Take note of a record; of an operation that was published again the places are shown together."""
        position = Position(event.version, event.op_id)
        if position >= self._before:
            return
        if (known := self._events.get(position)) is not None:
            event = msgspec.structs.replace(known, place=f"{known.place}, again {event.place}")
        self._events[position] = event
        if len(self._events) > 2 * self._limit:
            # One more than is shown, which says that there are older ones.
            kept = sorted(self._events)[-self._limit - 1 :]
            self._events = {each: self._events[each] for each in kept}

    def past(self, source: str, known_from: str | None) -> Past:
        """What was taken note of, newest last."""
        shown = sorted(self._events)[-self._limit :]
        older = position_text(shown[0]) if len(self._events) > len(shown) else None
        return Past(
            events=[self._events[each] for each in shown], source=source, known_from=known_from, older=older
        )


async def in_history(
    connection: SessionConnection, cart_id: str, before: Position, limit: int, days: int
) -> Past:
    """The operations that the history has; it keeps `days`. Raises psycopg.Error."""
    page = PastPage(before, limit)
    for change in await history.before(connection, cart_id, before, limit + 1):
        page.take(event_of(change, ""))
    return page.past(f"the history in Postgres, which keeps {days} days", None)


async def in_topic(
    reader: RangeReader, cart_id: str, partition: int, page: PastPage, bars: Bars, *, most: int | None = None
) -> Past:
    """The operations that `cart-changed` still has; of the last `most` offsets of the partition.

    Raises KafkaError, ReadStalled.
    """
    place, key = TopicPartition(CART_CHANGED.name, partition), cart_id.encode()
    first, end = await reader.bounds(place)
    read = OffsetRange(first if most is None else max(first, end - most), end)
    known_from = (await reader.times_at({place: read.start})).get(place) if read.size else None
    advance, position = bars(f"{place.topic}/{partition}", read.size), read.start
    async for records in reader.read({place: read}):
        for record in records:
            if record.key == key:
                at = f"{record.partition}/{record.offset}"
                page.take(event_of_record(record.value, record.timestamp, at))
        advance(records[-1].offset + 1 - position)
        position = records[-1].offset + 1
    moment = None if known_from is None else time_of(2_000 * known_from)
    return page.past(
        f"{place.topic}/{partition}, offsets {read.start:,} to {end:,}",
        None if moment is None else moment.isoformat(),
    )
