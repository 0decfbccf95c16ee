"""Settings of the connection to Redis and of what is kept there, each `CARTSTREAM_<NAME>`."""

from pydantic import Field, field_validator

from carts.lifetime import Lifetime
from store.redis.servers import Servers
from topics.retention import RetentionSettings
from topics.settings import TopicSettings


class RedisSettings(TopicSettings, RetentionSettings):
    """How the store reaches Redis and what it keeps there."""

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        examples=["redis://127.0.0.1:6379/0"],
        json_schema_extra={"secret": True},
        description="[where Redis is](../how-to/run-redis.md): `redis://`, `rediss://` (TLS) or `unix://`, "
        "with user, password and database as needed; `redis+sentinel://host,…/master`, "
        "`redis+cluster://host,…`, or `rediss+…`",
    )
    redis_timeout_s: float = Field(
        2.0,
        gt=0,
        le=60,
        examples=[2.0],
        description="how long to wait for a reply; after that the outcome of the request is unknown",
    )
    redis_connect_timeout_s: float = Field(
        2.0, gt=0, le=60, examples=[2.0], description="how long to wait for a connection"
    )
    redis_max_requests: int = Field(
        20_000, ge=1, examples=[20_000], description="requests in flight; more are refused at once"
    )
    outbox_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        examples=[67_108_864],
        description="unpublished changes of one partition; above it, writes are refused",
    )
    redis_reserve_share: float = Field(
        0.05,
        ge=0,
        le=0.5,
        examples=[0.05],
        description="share of Redis's `maxmemory` that is the [reserve](glossary.md#reserve): nothing "
        "grows into it. The same for all processes",
    )

    @field_validator("redis_url")
    @classmethod
    def _says_where(cls, value: str) -> str:
        Servers.of(value)
        return value

    @property
    def lifetime(self) -> Lifetime:
        """How long carts live: the same in all processes, or they disagree on what is there."""
        return Lifetime(
            idle_s=self.cart_idle_limit_s,
            guest_idle_s=self.guest_idle_limit_s or self.cart_idle_limit_s,
            retention_s=self.retention_us // 1_000_000,
        )
