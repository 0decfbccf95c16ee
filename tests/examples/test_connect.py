"""The connector to copy keeps a row for each cart, though it is killed and records come in any order."""

import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from carts.state import State, Version
from devstack.kafka import POM
from runtime.settings import KafkaSettings
from tests.examples.connect_worker import ConnectWorker, Row, Warehouse, has_changed
from tests.sinks.cart_records import START, grow, new_cart_id
from tests.support.topics import make_topics
from tests.support.waiting import until
from topics.codec import encode_cart, encode_purge_floor
from topics.headers import Headers, cart_headers, tombstone_headers
from topics.partitioner import partition_of
from topics.records import PurgeFloor, cart_record, purge_floor_key_in_carts

PARTITIONS: Final = 4
LATER: Final = START + 1_000_000
"""The v with which a cart begins again that was deleted."""

pytestmark = [pytest.mark.consumers, pytest.mark.timeout(900)]

Record = tuple[str, State | Version]
"""A cart's id and its state, or the version up to which it is deleted."""


def shown(cart_id: str, state: State) -> dict[str, Any]:
    """What the record of a cart says, but for what is for recovery."""
    record: dict[str, Any] = json.loads(encode_cart(cart_record(cart_id, state)))
    del record["state"]
    return record


def version_of(said: State | Version) -> Version:
    """The version that a record names."""
    return said if isinstance(said, Version) else said.version


class Topic:
    """A topic of the test's own with records of carts, and what is right after them."""

    def __init__(self, name: str, producer: AIOKafkaProducer) -> None:
        self.name: Final = name
        self._producer: Final = producer
        self._newest: Final[dict[str, State | Version]] = {}

    async def publish(self, records: Iterable[Record]) -> None:
        """Publish them in this order."""
        for cart_id, said in records:
            version = version_of(said)
            if isinstance(said, Version):
                await self.send(cart_id, None, tombstone_headers(cart_id, version, None))
            else:
                value = encode_cart(cart_record(cart_id, said))
                await self.send(cart_id, value, cart_headers(cart_id, version, None))
            before = self._newest.get(cart_id)
            is_newer = before is None or version > version_of(before)
            deletes = isinstance(said, Version) and before is not None and version == version_of(before)
            if is_newer or deletes:
                self._newest[cart_id] = said

    async def send(self, key: str, value: bytes | None, headers: Headers) -> None:
        """Publish a record of any kind, where its key belongs."""
        place = partition_of(key.encode(), PARTITIONS)
        await self._producer.send_and_wait(self.name, value, key.encode(), place, headers=headers)

    async def publish_last(self) -> set[str]:
        """Publish a new cart in each partition, and return them: who has them has had everything."""
        last: dict[int, str] = {}
        while len(last) < PARTITIONS:
            cart_id = new_cart_id()
            last[partition_of(cart_id.encode(), PARTITIONS)] = cart_id
        await self.publish([(cart_id, grow(cart_id, 1)) for cart_id in last.values()])
        return set(last.values())

    def rows(self) -> dict[str, Row]:
        """The rows that say the same."""
        return {
            cart_id: (
                said.version.tag(),
                "active",
                "EUR",
                shown(cart_id, said)["totals"]["total"],
                shown(cart_id, said),
            )
            for cart_id, said in self._newest.items()
            if isinstance(said, State)
        }

    def deleted(self) -> set[str]:
        """The ids of carts that are deleted."""
        return {cart_id for cart_id, said in self._newest.items() if isinstance(said, Version)}


@pytest.fixture
async def topic(kafka: KafkaSettings) -> AsyncIterator[Topic]:
    """The topic, empty."""
    name = f"carts-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        await make_topics(admin, NewTopic(name, PARTITIONS, 1))
    finally:
        await admin.close()
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        yield Topic(name, producer)


@pytest.fixture
def warehouse(postgres_url: str) -> Warehouse:
    """The database."""
    return Warehouse(postgres_url)


@pytest.fixture
def connect(
    kafka: KafkaSettings, topic: Topic, warehouse: Warehouse, tmp_path: Path
) -> Iterator[ConnectWorker]:
    """The worker, not started yet."""
    worker = ConnectWorker(kafka.kafka_bootstrap, topic.name, warehouse, tmp_path)
    yield worker
    worker.kill()


def history(kind: int, randomness: random.Random) -> list[Record]:
    """What comes of a cart: states in any order, each twice.

    Then, by kind: nothing more; a deletion, and older states after it; the same, and the cart begins again,
    and the deletion comes once more.
    """
    cart_id = new_cart_id()
    states = [grow(cart_id, operations) for operations in (1, 2, 3)]
    records: list[Record] = [(cart_id, state) for state in randomness.sample([*states, *states], 6)]
    if kind:
        deletion = (cart_id, states[-1].version)
        records += [deletion, (cart_id, states[0]), (cart_id, states[-1])]
        if kind > 1:
            records += [(cart_id, grow(cart_id, 1, first=LATER)), deletion]
    return records


def histories() -> list[Record]:
    """What comes of many carts, mixed."""
    randomness = random.Random(1411)
    each = [history(number % 3, randomness) for number in range(60)]
    return [records[step] for step in range(max(map(len, each))) for records in each if step < len(records)]


def test_connect_is_of_the_version_of_the_embedded_kafka() -> None:
    own = Path(__file__).parent / "connect" / "pom.xml"
    versions = {re.findall("<kafka.version>(.+?)<", pom.read_text())[0] for pom in (own, POM)}
    assert len(versions) == 1


async def test_after_kills_there_is_a_row_for_each_cart_as_its_newest_record_has_it(
    connect: ConnectWorker, topic: Topic, warehouse: Warehouse
) -> None:
    records = histories()
    third = len(records) // 3
    for part in (records[:third], records[third : 2 * third]):
        before = warehouse.rows()
        await topic.publish(part)
        connect.launch()
        await until(partial(has_changed, connect, warehouse, before), "rows", 300)
        connect.kill()
    await topic.publish(records[2 * third :])
    connect.launch()
    await until_all(connect, topic, warehouse)
    assert len(topic.deleted()) == 20

    # What the topic may hold besides; and a stop.
    one, two = list(topic.rows())[:2]
    await topic.send(one, None, [])
    await topic.send(purge_floor_key_in_carts(1).decode(), encode_purge_floor(PurgeFloor(5)), [])
    connect.running.terminate()
    connect.wait()
    await topic.publish([(two, grow(two, 5, first=LATER))])
    connect.launch()
    await until_all(connect, topic, warehouse)

    # A task that has ended goes on when it is told to.
    warehouse.rename("carts_received", "away")
    await topic.publish([(two, grow(two, 6, first=LATER))])
    await until(connect.failures, "the task's end", 300)
    warehouse.rename("away", "carts_received")
    connect.restart_what_failed()
    await until_all(connect, topic, warehouse)


async def until_all(connect: ConnectWorker, topic: Topic, warehouse: Warehouse) -> None:
    """Once the connector has had everything there is, the rows are those of the newest records."""
    last = await topic.publish_last()

    def has_last() -> bool:
        connect.assert_no_failure()
        return last <= warehouse.rows().keys()

    await until(has_last, "all records", 300, 0.5)
    expected = topic.rows()
    assert warehouse.rows() == expected
    assert warehouse.deleted() == topic.deleted()
    lines = Counter({cart_id: len(cart["lines"]) for cart_id, (*_, cart) in expected.items()})
    counted = dict(warehouse.ask("SELECT cart_id, count(*) FROM cart_lines_now GROUP BY cart_id"))
    assert counted == lines
