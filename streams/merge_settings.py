"""Settings of `streams merges`."""

from pydantic import Field

from delivery.settings import DeliverySettings
from runtime.owners import OwnerSettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings


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
