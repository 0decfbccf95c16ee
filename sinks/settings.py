"""Settings of the sink processes, all from `CARTSTREAM_*`."""

from pydantic import Field

from delivery.settings import DeliverySettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings
from topics.registry import CARTS
from topics.settings import TopicSettings


class PostgresSinkSettings(DeliverySettings, TopicSettings, PostgresSettings):
    """The process `sinks postgres`."""

    max_record_bytes: int = Field(CARTS.max_message_bytes, ge=1 << 16)
    """Largest record value: that of `carts`, so that every record fits into the dead letters."""
    sink_batch_records: int = Field(2000, ge=1, le=20_000, examples=[2000])
    """Records written in one transaction at most."""
    sink_batch_seconds: float = Field(0.2, gt=0, le=10, examples=[0.2])
    """Between two looks at the log without a backlog; about the lag of a row."""


class HistorySinkSettings(DeliverySettings, TopicSettings, PostgresSettings):
    """The process `sinks history`."""

    history_batch_records: int = Field(2000, ge=1, le=20_000, examples=[2000])
    """Operations written in one transaction at most."""
    history_batch_seconds: float = Field(0.2, gt=0, le=10, examples=[0.2])
    """Between two looks at the log without a backlog; about the lag of the history."""


class RedisSinkSettings(DeliverySettings, RedisSettings, PostgresSettings):
    """The process `sinks redis`. Without Postgres a lost partition is restored from all of `carts`."""

    restore_parallel: int = Field(4, ge=1, le=64, examples=[4])
    """Partitions restored at once; those that a request waits for come first."""
    warm_carts_per_s: int = Field(2000, ge=1, le=100_000, examples=[2000])
    """Rows looked up in a second at most, after a restoration, for carts that nobody has asked for."""
    anti_entropy_after_s: float = Field(60.0, ge=1, le=300, examples=[60])
    """Age at which a change that `carts` does not cover is checked: well below the age up to which it may be
    published again."""
