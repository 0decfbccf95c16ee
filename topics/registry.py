"""The table of topics: what each is called, keyed by, kept for, written by and made of."""

from datetime import timedelta
from enum import StrEnum
from typing import Final

import msgspec

from carts.limits import TIMING
from topics.names import GENERATION, in_kafka, of_carts, schema_id
from topics.records import (
    AbandonmentRecord,
    CartChanged,
    CartRecord,
    DeadLetterHeaders,
    LetterMarkHeaders,
    MergeRecord,
    OrderRecord,
    ProductRecord,
    PurgeFloor,
)

PARTITIONS: Final = 16
"""Partitions of every topic by default. The number is fixed for the life of a topic: keys hash to it."""

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_MINUTE_MS: Final = 60 * 1000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
_DEADLINE_MS: Final = TIMING.publish_deadline_us // 1000
_DAILY_SEGMENTS: Final = {
    # Erasure: a record goes with its segment, so it outlives its retention by a day at most.
    "segment.ms": str(_DAY_MS),
}
_RELAYED: Final = {
    # The record's time is that of its reading from the outbox: a relay that was frozen past this, half of
    # the time after which the database gives its lock to another one, gets nothing in that is older than
    # what the other one has sent.
    "message.timestamp.before.max.ms": "30000",
    "message.timestamp.after.max.ms": "30000",
}


class Cleanup(StrEnum):
    """What Kafka does with old records."""

    DELETE = "delete"
    COMPACT = "compact"


class Compression(StrEnum):
    """How writers compress batches of records, in aiokafka's word for it."""

    ZSTD = "zstd"


class Part(StrEnum):
    """What of a record a Struct describes."""

    VALUE = "value"
    HEADERS = "headers"


class RecordSpec(msgspec.Struct, frozen=True):
    """One kind of record of a topic: its newest version, its Struct, and how the schema files call it."""

    name: str
    version: int
    type: type[msgspec.Struct]
    part: Part = Part.VALUE

    @property
    def schema_id(self) -> str:
        """The URI in `ce_dataschema`, and in `$id` of the schema as the gateway serves it."""
        return schema_id(self.name, self.version)


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One topic: the contract between its writers and readers. Times in milliseconds, sizes in bytes."""

    name: str
    key: str
    cleanup: Cleanup
    written_by: str
    purpose: str
    records: tuple[RecordSpec, ...] = ()
    """Empty: reserved, nothing is published there yet."""
    max_message_bytes: int = _MIB
    retention_ms: int | None = None
    compression: Compression | None = None
    """What its writers compress with; readers find it in each batch."""
    settings: dict[str, str] = {}
    """Further topic settings. They replace those that every topic has."""

    @property
    def outlived_by(self) -> timedelta:
        """How long a record can be on disk after it was written; in a compacted topic, after its successor.

        A record goes with its segment, and a compacted topic ends a segment when the next record comes.
        KeyError for a topic that promises nothing.
        """
        if self.cleanup is Cleanup.COMPACT:
            return timedelta(milliseconds=int(self.settings["max.compaction.lag.ms"]))
        return timedelta(milliseconds=(self.retention_ms or 0) + int(self.settings["segment.ms"]))

    def configs(self, *, replicas: int) -> dict[str, str]:
        """The topic settings Kafka must show, for a cluster that keeps `replicas` copies."""
        configs = {
            "cleanup.policy": self.cleanup.value,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": "CreateTime",
            "min.insync.replicas": str(min(2, replicas)),
            "unclean.leader.election.enable": "false",
            **self.settings,
        }
        if self.retention_ms is not None:
            configs["retention.ms"] = str(self.retention_ms)
        return configs


CART_CHANGED: Final = TopicSpec(
    name=of_carts("cart-changed"),
    key="cart id",
    cleanup=Cleanup.DELETE,
    written_by="gateway; agents that act on a cart",
    purpose="every operation on every cart; folding it gives the carts",
    records=(RecordSpec("cart-changed", 2, CartChanged),),
    retention_ms=7 * _DAY_MS,
    settings={
        **_DAILY_SEGMENTS,
        # The record's time is that of its script: the broker itself refuses a publisher that was frozen past
        # the deadline. The other bound refuses clocks that run ahead, which would stretch the deadline.
        "message.timestamp.before.max.ms": str(_DEADLINE_MS),
        "message.timestamp.after.max.ms": str(_DEADLINE_MS),
    },
)

CARTS: Final = TopicSpec(
    name=of_carts("carts"),
    key="cart id",
    cleanup=Cleanup.COMPACT,
    written_by="compaction agent",
    purpose="the current state of every cart; changelog of the agent's table",
    records=(RecordSpec("carts", 3, CartRecord),),
    # Content, window and view of the largest cart, in JSON, with room for the characters JSON escapes.
    max_message_bytes=4 * _MIB,
    # Of a batch of 10 states it leaves 15 %, for 3 to 8 µs a state; lz4, as aiokafka writes it, 24 % for 4 to
    # 35 µs. Not for `cart-changed`: a change is mostly alone in its batch, two thirds of which would stay, at
    # 23 µs in the gateway and 18 µs in each reader.
    compression=Compression.ZSTD,
    settings={
        # By the broker's clock: a worker that was frozen and woke up, or whose clock is wrong, must not make
        # the cleaner take a newer state before the owner of the partition has written it again.
        "message.timestamp.type": "LogAppendTime",
        # The owner writes it again within seconds; if it died meanwhile, the next one has read the partition.
        "min.compaction.lag.ms": str(5 * _MINUTE_MS),
        # The cleaner cannot touch the segment that is being written: a minute of changes, not 64 MiB.
        "segment.ms": str(_MINUTE_MS),
        "segment.bytes": str(64 * _MIB),
        # A reader from the beginning reads what compaction has not reached, too: keep that small.
        "min.cleanable.dirty.ratio": "0.2",
        # Erasure: what was deleted is gone from disk within this time, however few changes there are.
        "max.compaction.lag.ms": str(_DAY_MS),
        # A reader that was away for less than this still sees every tombstone.
        "delete.retention.ms": str(7 * _DAY_MS),
    },
)

PURGE_FLOORS: Final = TopicSpec(
    name=of_carts("purge-floors"),
    key="number of the partition",
    cleanup=Cleanup.COMPACT,
    written_by="compaction agent",
    purpose="the highest version ever deleted in each partition: no absent cart comes back at or below it",
    records=(RecordSpec("carts-purge-floor", 1, PurgeFloor),),
    settings={
        # Readers take the highest record: that of a worker that was frozen must not be the only one left
        # before the owner of the partition has written its own again.
        "min.compaction.lag.ms": str(_DAY_MS),
        "message.timestamp.type": "LogAppendTime",
        **_DAILY_SEGMENTS,
    },
)

PRODUCTS: Final = TopicSpec(
    name=in_kafka("products"),
    key="product id",
    cleanup=Cleanup.COMPACT,
    written_by="the one owner of products",
    purpose="every product as it is now: text, price and stock",
    records=(RecordSpec("products", 1, ProductRecord),),
    settings={
        # Every change of a price or a stock is a record of the whole product: let compaction follow closely,
        # for a lost cache is filled again from all there is.
        "min.cleanable.dirty.ratio": "0.2",
        "max.compaction.lag.ms": str(_DAY_MS),
        "segment.bytes": str(64 * _MIB),
        # A reader that was away for less than this still sees every deletion.
        "delete.retention.ms": str(7 * _DAY_MS),
        **_RELAYED,
    },
)

ORDERS: Final = TopicSpec(
    name=in_kafka("orders"),
    key="order id",
    cleanup=Cleanup.DELETE,
    written_by="Postgres outbox relay",
    purpose="orders placed and cancelled, for what follows a checkout",
    records=(RecordSpec("orders", 2, OrderRecord),),
    # The largest cart with the names of its products.
    max_message_bytes=2 * _MIB,
    retention_ms=30 * _DAY_MS,
    settings={**_DAILY_SEGMENTS, **_RELAYED},
)

CART_MERGES: Final = TopicSpec(
    name=in_kafka("cart-merges"),
    key="user cart id",
    cleanup=Cleanup.DELETE,
    written_by="Postgres outbox relay",
    purpose="merges that the merge agent shall carry on: heavy ones, and those that stopped half-way",
    records=(RecordSpec("cart-merges", 1, MergeRecord),),
    retention_ms=7 * _DAY_MS,
    settings=_RELAYED,
)

CART_ABANDONED: Final = TopicSpec(
    name=in_kafka("cart-abandoned"),
    key="cart id",
    cleanup=Cleanup.DELETE,
    written_by="Postgres outbox relay",
    purpose="carts left behind, and those taken up again",
    records=(RecordSpec("cart-abandoned", 1, AbandonmentRecord),),
    retention_ms=30 * _DAY_MS,
    settings={**_DAILY_SEGMENTS, **_RELAYED},
)

DEAD_LETTERS: Final = TopicSpec(
    name=in_kafka("dead-letters"),
    key="key of the source record",
    cleanup=Cleanup.DELETE,
    written_by="every agent; `cartstream dlq` marks what was dealt with",
    purpose="records nobody could process, with the error and where they came from",
    records=(
        RecordSpec("dead-letters", 1, DeadLetterHeaders, Part.HEADERS),
        RecordSpec("dead-letters-mark", 1, LetterMarkHeaders, Part.HEADERS),
    ),
    # Any record of any topic must fit, with its headers and those of the dead letter.
    max_message_bytes=5 * _MIB,
    retention_ms=30 * _DAY_MS,
    settings=_DAILY_SEGMENTS,
)

TOPICS: Final = (
    CART_CHANGED,
    CARTS,
    PURGE_FLOORS,
    PRODUCTS,
    ORDERS,
    CART_MERGES,
    CART_ABANDONED,
    DEAD_LETTERS,
)

CART_TOPICS: Final = (CART_CHANGED, CARTS, PURGE_FLOORS)
"""The topics in which the place of a record depends on the place of its cart: each generation has its own."""


def partitions_of(topic: str, carts: int, others: int | None) -> int:
    """How many partitions a topic has; `others` None: all topics have as many as those of carts."""
    return carts if others is None or topic in _OF_CARTS else others


def in_generation(spec: TopicSpec, generation: int) -> TopicSpec:
    """A topic of carts as another generation has it; any other topic is the same in all."""
    if (bare := _OF_CARTS.get(spec.name)) is None:
        return spec
    return msgspec.structs.replace(spec, name=of_carts(bare, generation))


def now_called(name: str) -> str:
    """What a topic is called in this generation: a name that was noted down may be of an earlier one."""
    return next(
        (
            of_carts(bare)
            for bare in _OF_CARTS.values()
            if name in {of_carts(bare, earlier) for earlier in range(1, GENERATION)}
        ),
        name,
    )


def topic(name: str) -> TopicSpec:
    """The topic called `name`; KeyError for a name that is not in the table."""
    return _BY_NAME[name]


def record_spec_of(described: type[msgspec.Struct]) -> RecordSpec:
    """The kind of record that this Struct describes; KeyError for one that is in no topic."""
    return _BY_STRUCT[described]


_BY_NAME: Final = {spec.name: spec for spec in TOPICS}
_BY_STRUCT: Final = {record.type: record for spec in TOPICS for record in spec.records}
_OF_CARTS: Final = {of_carts(bare): bare for bare in ("cart-changed", "carts", "purge-floors")}
