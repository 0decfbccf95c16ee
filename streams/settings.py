"""Settings of the `streams` processes."""

from pydantic import Field

from delivery.settings import DeliverySettings
from runtime.owners import OwnerSettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings
from topics.registry import CARTS
from topics.retention import RetentionSettings
from topics.settings import TopicSettings


class StreamsSettings(DeliverySettings, TopicSettings, RetentionSettings):
    """One worker of the compaction agent, from `CARTSTREAM_*`."""

    max_record_bytes: int = Field(default=CARTS.max_message_bytes - (128 << 10), ge=1 << 16)
    """Largest `carts` record; the topic accepts a little more than the value."""


class MergeSettings(DeliverySettings, RedisSettings, PostgresSettings, OwnerSettings):
    """One worker of the merge agent, from `CARTSTREAM_*`."""

    merge_parallel: int = Field(8, ge=1, le=100, examples=[8])
    """Merges carried on at once, and connections to Postgres."""
    merge_seconds: float = Field(10.0, gt=0, le=300, examples=[10])
    """Merges that are not done after so long are left; the job `merges` hands them over again."""
