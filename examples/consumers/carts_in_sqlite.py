"""A consumer to copy: every cart in a SQLite database, as GET shows it, a moment after each change.

    python examples/consumers/carts_in_sqlite.py --bootstrap 127.0.0.1:9092 --database carts.sqlite

It needs `aiokafka`, `cramjam` and the files `cart_*.py` beside it. Carts and positions in Kafka are in one
transaction, so it may be killed at any moment: no change is lost, none counts twice. Nothing is committed
to Kafka. What the carts have of each product:

    SELECT line.value ->> 'product_id' AS product, SUM(line.value ->> 'quantity') AS pieces
    FROM carts, json_each(carts.shown, '$.lines') AS line
    WHERE carts.status = 'active' GROUP BY product ORDER BY pieces DESC;
"""

import argparse
import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import ConsumerRecord

from cart_content import Json
from cart_fold import fold, version_of, view

log: Final = logging.getLogger("carts_in_sqlite")

SCHEMA: Final = """
PRAGMA secure_delete = ON;  -- carts hold personal data: what is erased is overwritten
CREATE TABLE IF NOT EXISTS carts (
    cart_id TEXT PRIMARY KEY,
    partition INTEGER NOT NULL,
    status TEXT NOT NULL,
    shown TEXT NOT NULL,  -- as GET shows it
    state TEXT NOT NULL  -- what the next fold needs
);
CREATE TABLE IF NOT EXISTS positions (
    partition INTEGER PRIMARY KEY, next INTEGER NOT NULL, purge_floor INTEGER NOT NULL
);
"""
UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading or folding raises for a record that is no change. Compaction has refused it, too."""


class Carts:
    """The carts and how far `cart-changed` is in them. One process at a time."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path)
        self._database.executescript(SCHEMA)

    def positions(self) -> dict[int, int]:
        """The offset of the next record to take, by partition; none of a partition that is new here."""
        return dict(self._database.execute("SELECT partition, next FROM positions"))

    def begin(self, partition: int, position: int, purge_floor: int, states: Mapping[str, Json]) -> None:
        """Begin a partition anew with these carts: all of this, or nothing."""
        with self._database:
            self._database.execute("DELETE FROM carts WHERE partition = ?", (partition,))
            for cart_id, state in states.items():
                self._put(partition, cart_id, state)
            self._database.execute(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (partition, position, purge_floor)
            )

    def take(self, batch: Mapping[TopicPartition, list[ConsumerRecord]], partitions: list[int]) -> None:
        """Take records of `cart-changed` and move the positions behind them: all of this, or nothing."""
        with self._database:
            for place, records in batch.items():
                find = "SELECT purge_floor FROM positions WHERE partition = ?"
                (purge_floor,) = self._database.execute(find, (place.partition,)).fetchone()
                for record in records:
                    try:
                        change = change_in(record, partitions)
                        purge_floor = self._fold(place.partition, change, purge_floor)
                    except UNREADABLE as error:
                        log.warning("%s %s is passed over: %r", place, record.offset, error)
                self._database.execute(
                    "UPDATE positions SET next = ?, purge_floor = ? WHERE partition = ?",
                    (records[-1].offset + 1, purge_floor, place.partition),
                )

    def _fold(self, partition: int, change: Json, purge_floor: int) -> int:
        cart_id = change["cart_id"]
        row = self._database.execute("SELECT state FROM carts WHERE cart_id = ?", (cart_id,)).fetchone()
        before = json.loads(row[0]) if row else None
        after = fold(before, change, purge_floor)
        if after is not None:
            self._put(partition, cart_id, after)
        elif before is not None:
            self._database.execute("DELETE FROM carts WHERE cart_id = ?", (cart_id,))
            return max(purge_floor, version_of(before)[0])
        return purge_floor

    def _put(self, partition: int, cart_id: str, state: Json) -> None:
        shown = view(state)
        row = (cart_id, partition, shown["status"], json.dumps(shown), json.dumps(state))
        self._database.execute("INSERT OR REPLACE INTO carts VALUES (?, ?, ?, ?, ?)", row)


def change_in(record: ConsumerRecord, partitions: list[int]) -> Json:
    """The change in a record. Raises one of UNREADABLE if it is none, or stands where it must not."""
    change: Json = json.loads(record.value or b"")
    key = change["cart_id"].encode()
    if record.key != key or record.partition != DefaultPartitioner()(key, partitions, partitions):
        raise ValueError("its key or its partition is not that of its cart")
    return change


class Topics:
    """The topics of a shop; with a prefix their names begin with it, such as `shop-a.`."""

    def __init__(self, bootstrap: str, prefix: str = "") -> None:
        self.changed = f"{prefix}cart-changed"
        self._carts, self._floors = f"{prefix}carts", f"{prefix}purge-floors"
        self._compaction = f"{prefix}cartstream-compaction"
        self._bootstrap = bootstrap

    def consumer(self) -> AIOKafkaConsumer:
        """A consumer that raises where its position is none, rather than to leave something out."""
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, enable_auto_commit=False, auto_offset_reset="none"
        )

    async def folded(self) -> dict[int, int]:
        """By partition of `cart-changed`, up to where every change is in `carts`; 0: nothing is yet.

        Do not take `source_offset` of the records for that: carts are not written in the order of changes.
        """
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            (topic,) = await admin.describe_topics([self.changed])
            # A coordinator that cannot say it looks like one that has nothing: then more is read, no less.
            committed = await admin.list_consumer_group_offsets(self._compaction)
        finally:
            await admin.close()
        places = [TopicPartition(self.changed, each["partition"]) for each in topic["partitions"]]
        return {place.partition: committed[place].offset if place in committed else 0 for place in places}

    async def snapshot(self, partition: int) -> tuple[int, dict[str, Json]]:
        """The purge floor of a partition, and the states of all its carts."""
        floor, newest = 0, dict[str, tuple[tuple[int, int], bool, Json]]()
        async for record in self._whole(self._floors, partition):
            floor = max(floor, json.loads(record.value)["purge_floor"])
        async for record in self._whole(self._carts, partition):
            if record.key is None or record.key.startswith(b"!"):
                continue  # bookkeeping of older clusters
            with suppress(*UNREADABLE):
                v, n, _ = dict(record.headers)["cart_version"].decode().split("-")
                is_deletion = record.value is None
                state = {} if is_deletion else json.loads(record.value)["state"]
                view(state)  # what cannot be read is no cart
                # An older state may follow a newer one. Of one version the deletion wins.
                entry = ((int(v), int(n)), is_deletion, state)
                key = record.key.decode()
                newest[key] = max(newest.get(key, entry), entry, key=lambda each: each[:2])
                floor = max(floor, int(v)) if is_deletion else floor
        return floor, {key: state for key, (_, is_gone, state) in newest.items() if not is_gone}

    async def _whole(self, topic: str, partition: int) -> AsyncIterator[ConsumerRecord]:
        """The records that a partition has now."""
        place = TopicPartition(topic, partition)
        async with self.consumer() as consumer:
            consumer.assign([place])
            begin = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
            consumer.seek(place, begin)
            while await consumer.position(place) < end:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        yield record


async def follow(carts: Carts, topics: Topics, *, once: bool = False) -> None:
    """Keep the carts up to date for ever; `once`: until they have what the topic has now."""
    # Asked for first: whatever is folded later comes again in `cart-changed`, and changes nothing then.
    folded = await topics.folded()
    places = [TopicPartition(topics.changed, partition) for partition in sorted(folded)]
    async with topics.consumer() as consumer:
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            position = carts.positions().get(place.partition, -1)
            if not begins[place] <= position <= ends[place]:
                # It is new here, or was away for longer than the topic keeps changes.
                position = folded[place.partition]
                position = position if begins[place] <= position <= ends[place] else begins[place]
                carts.begin(place.partition, position, *await topics.snapshot(place.partition))
        consumer.assign(places)
        for place in places:
            consumer.seek(place, carts.positions()[place.partition])
        while not (once and has_reached(carts.positions(), ends)):
            carts.take(await consumer.getmany(timeout_ms=500), sorted(folded))


def has_reached(positions: Mapping[int, int], ends: Mapping[TopicPartition, int]) -> bool:
    """Whether every position is at its end."""
    return all(positions[place.partition] >= end for place, end in ends.items())


def main() -> None:
    """Parse and follow."""
    parser = argparse.ArgumentParser(description="Keep every cart in a SQLite database")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="host:port of a broker")
    parser.add_argument("--database", default="carts.sqlite", help="the file of the database")
    parser.add_argument("--prefix", default="", help="of the names in Kafka, such as `shop-a.`")
    parser.add_argument("--once", action="store_true", help="end when all is taken that is there now")
    given = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s")
    asyncio.run(follow(Carts(given.database), Topics(given.bootstrap, given.prefix), once=given.once))


if __name__ == "__main__":
    main()
