"""Settings of the `streams` processes."""

from pydantic import Field

from delivery.settings import DeliverySettings
from topics.registry import CARTS
from topics.retention import RetentionSettings
from topics.settings import TopicSettings


class StreamsSettings(DeliverySettings, TopicSettings, RetentionSettings):
    """One worker of the compaction agent, from `CARTSTREAM_*`."""

    max_record_bytes: int = Field(default=CARTS.max_message_bytes - (128 << 10), ge=1 << 16)
    """Largest `carts` record; the topic accepts a little more than the value."""
