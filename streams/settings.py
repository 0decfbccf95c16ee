"""Settings of the `streams` processes."""

from typing import Final

from pydantic import Field, field_validator

from delivery.settings import DeliverySettings
from runtime.owners import OwnerSettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings
from topics.registry import CARTS
from topics.retention import RetentionSettings
from topics.settings import TopicSettings

LONGEST_STORE_AGE_S: Final = int(CARTS.settings["delete.retention.ms"]) // 2000


class StreamsSettings(DeliverySettings, TopicSettings, RetentionSettings):
    """One worker of the compaction agent, from `CARTSTREAM_*`."""

    max_record_bytes: int = Field(
        default=CARTS.max_message_bytes - (128 << 10),
        ge=1 << 16,
        description="largest `carts` record; the topic accepts a little more than the value",
    )

    @field_validator("local_store_max_age_s")
    @classmethod
    def _knows_every_deletion(cls, value: float) -> float:
        if value > LONGEST_STORE_AGE_S:
            raise ValueError(
                f"{CARTS.name} keeps deletions for {2 * LONGEST_STORE_AGE_S} s: a store older than half of "
                "that could bring deleted carts back"
            )
        return value


class MergeSettings(DeliverySettings, RedisSettings, PostgresSettings, OwnerSettings):
    """One worker of the merge agent, from `CARTSTREAM_*`."""

    merge_parallel: int = Field(
        8, ge=1, le=100, examples=[8], description="merges carried on at once, and connections to Postgres"
    )
    merge_seconds: float = Field(
        5.0,
        gt=0,
        le=300,
        examples=[5],
        description="a merge that cannot go on for so long is left; the job `merges` hands it over again. "
        "Records behind it wait meanwhile",
    )
