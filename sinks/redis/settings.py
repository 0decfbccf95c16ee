"""Settings of `sinks redis`, all from `CARTSTREAM_*`."""

from pydantic import Field

from delivery.settings import DeliverySettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings


class RedisSinkSettings(DeliverySettings, RedisSettings, PostgresSettings):
    """The process `sinks redis`. Without Postgres a lost partition is restored from all of `carts`."""

    restore_parallel: int = Field(
        4,
        ge=1,
        le=64,
        examples=[4],
        description="partitions restored at once; those with a restore request come first",
    )
    warm_carts_per_s: int = Field(
        2000,
        ge=1,
        le=100_000,
        examples=[2000],
        description="rows looked up in a second at most, after a restore, for carts that nobody has asked "
        "for",
    )
    anti_entropy_after_s: float = Field(
        60.0,
        ge=1,
        le=300,
        examples=[60],
        description="age at which a change that `carts` does not cover is examined; well below the age up "
        "to which it may be published again",
    )
