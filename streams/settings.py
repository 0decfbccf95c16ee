"""Settings of the `streams` processes."""

from pydantic import Field, model_validator

from carts.limits import TIMING
from delivery import DeliverySettings
from topics.registry import CART_CHANGED, CARTS, PARTITIONS

_DAY_S = 24 * 60 * 60


class StreamsSettings(DeliverySettings):
    """One worker of the compaction agent, from `CARTSTREAM_*`."""

    partitions: int = Field(default=PARTITIONS, ge=1, le=4096)
    """Of the topics, as `cartstream topics apply` made them."""
    max_record_bytes: int = Field(default=CARTS.max_message_bytes - (128 << 10), ge=1 << 16)
    """Largest `carts` record; the topic accepts a little more than the value."""
    purge_after_days: int = Field(default=30, ge=1)
    """RT: how long a cart stays expired before a purge may delete it."""

    @model_validator(mode="after")
    def _outlives_old_events(self) -> "StreamsSettings":
        retention_ms = CART_CHANGED.retention_ms or 0
        horizon_us = retention_ms * 1000 + TIMING.retry_horizon_us + TIMING.publish_deadline_us
        if self.retention_us <= horizon_us:
            raise ValueError(
                f"CARTSTREAM_PURGE_AFTER_DAYS: {self.purge_after_days} days do not outlast the events of "
                f"{CART_CHANGED.name}, one of them could bring a deleted cart back: a right value is 30"
            )
        return self

    @property
    def retention_us(self) -> int:
        """`purge_after_days` in microseconds."""
        return self.purge_after_days * _DAY_S * 1_000_000
