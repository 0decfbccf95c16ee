"""Settings of the `streams` processes."""

from pydantic import Field

from delivery.settings import DeliverySettings
from topics.registry import CARTS, PARTITIONS
from topics.retention import RetentionSettings


class StreamsSettings(DeliverySettings, RetentionSettings):
    """One worker of the compaction agent, from `CARTSTREAM_*`."""

    partitions: int = Field(default=PARTITIONS, ge=1, le=4096)
    """Of the topics, as `cartstream topics apply` made them."""
    max_record_bytes: int = Field(default=CARTS.max_message_bytes - (128 << 10), ge=1 << 16)
    """Largest `carts` record; the topic accepts a little more than the value."""
