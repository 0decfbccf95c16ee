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
    """Largest record value: that of `carts`, for a poisoned one goes to the dead letters as it is."""
    sink_batch_records: int = Field(2000, ge=1, le=20_000, examples=[2000])
    """Records written in one transaction at most."""
    sink_batch_seconds: float = Field(0.2, gt=0, le=10, examples=[0.2])
    """How long a batch is collected at most: what a row lags behind when there is little to do."""


class RedisSinkSettings(DeliverySettings, RedisSettings):
    """The process `sinks redis`."""

    restore_parallel: int = Field(4, ge=1, le=64, examples=[4])
    """Partitions restored at once; those somebody waits for come first."""
    anti_entropy_after_s: float = Field(60.0, ge=1, le=300, examples=[60])
    """Age at which a change that `carts` does not cover is looked into: well below the age up to which it may
    be published again."""
