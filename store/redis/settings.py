"""Settings of the connection to Redis and of what is kept there, each `CARTSTREAM_<NAME>`."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from carts.lifetime import Lifetime
from runtime.settings import PREFIX
from topics.retention import RetentionSettings
from topics.settings import TopicSettings


class RedisSettings(TopicSettings, RetentionSettings):
    """How the store reaches Redis and what it keeps there."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        pattern=r"^(redis|rediss|unix)://.+",
        examples=["redis://127.0.0.1:6379/0"],
        description="redis://, rediss:// (TLS) or unix://, with user, password and database as needed",
    )
    redis_timeout_s: float = Field(
        2.0,
        gt=0,
        le=60,
        examples=[2.0],
        description="a request without a reply by then has an unknown outcome",
    )
    redis_connect_timeout_s: float = Field(2.0, gt=0, le=60, examples=[2.0])
    redis_max_requests: int = Field(
        20_000, ge=1, examples=[20_000], description="requests under way at once; more are refused at once"
    )
    outbox_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        examples=[67_108_864],
        description="unpublished changes of one partition; over it, writes are refused",
    )
    redis_reserve_share: float = Field(
        0.05,
        ge=0,
        le=0.5,
        examples=[0.05],
        description="of maxmemory, kept for removals, orders and restores: nothing else may grow into it",
    )

    @property
    def lifetime(self) -> Lifetime:
        """How long carts live: the same in all processes, or they disagree on what is there."""
        return Lifetime(
            idle_s=self.cart_idle_limit_s,
            guest_idle_s=self.guest_idle_limit_s or self.cart_idle_limit_s,
            retention_s=self.retention_us // 1_000_000,
        )
