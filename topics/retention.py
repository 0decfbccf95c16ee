"""The setting RT, how long a cart stays expired: for compaction, purges and readers of copies."""

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from carts.limits import TIMING
from runtime.settings import PREFIX
from topics.registry import CART_CHANGED

_DAY_S = 24 * 60 * 60


class RetentionSettings(BaseSettings):
    """Every process must have the same value."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    purge_after_days: int = Field(default=30, ge=1, examples=[30])
    """RT: how long a cart stays expired before a purge may delete it."""

    @model_validator(mode="after")
    def _outlives_old_events(self) -> "RetentionSettings":
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
