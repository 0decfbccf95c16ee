"""Settings of `streams compaction`, all from `CARTSTREAM_*`."""

from typing import Final

from pydantic import Field, field_validator

from delivery.settings import DeliverySettings
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
