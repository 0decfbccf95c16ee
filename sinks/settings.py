"""Settings of the sink processes, all from `CARTSTREAM_*`."""

from pydantic import Field

from delivery.settings import DeliverySettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings
from topics.registry import CARTS
from topics.settings import TopicSettings


class PostgresSinkSettings(DeliverySettings, TopicSettings, PostgresSettings):
    """The process `sinks postgres`."""

    max_record_bytes: int = Field(
        CARTS.max_message_bytes,
        ge=1 << 16,
        description="largest record of `carts` it reads; as large as the topic takes, so that each one "
        "fits into the dead letters",
    )
    sink_batch_records: int = Field(
        2000, ge=1, le=20_000, examples=[2000], description="most records written in one transaction"
    )
    sink_batch_seconds: float = Field(
        0.4,
        gt=0,
        le=10,
        examples=[0.4],
        description="time between two looks at the log without a backlog: what comes meanwhile is one "
        "batch. It adds half of that to the lag of a row, on average",
    )


class HistorySinkSettings(DeliverySettings, TopicSettings, PostgresSettings):
    """The process `sinks history`."""

    history_batch_records: int = Field(
        2000, ge=1, le=20_000, examples=[2000], description="most operations written in one transaction"
    )
    history_batch_seconds: float = Field(
        0.4,
        gt=0,
        le=10,
        examples=[0.4],
        description="time between two looks at the log without a backlog: what comes meanwhile is one "
        "batch. It adds half of that to the lag of the history, on average",
    )


class RedisSinkSettings(DeliverySettings, RedisSettings, PostgresSettings):
    """The process `sinks redis`. Without Postgres a lost partition is restored from all of `carts`."""

    restore_parallel: int = Field(
        4,
        ge=1,
        le=64,
        examples=[4],
        description="partitions restored at once; those with a restore request come first",
    )
    warm_carts_per_s: int = Field(
        2000,
        ge=1,
        le=100_000,
        examples=[2000],
        description="rows looked up in a second at most, after a restore, for carts that nobody has asked "
        "for",
    )
    anti_entropy_after_s: float = Field(
        60.0,
        ge=1,
        le=300,
        examples=[60],
        description="age at which a change that `carts` does not cover is examined; well below the age up "
        "to which it may be published again",
    )
