"""Settings of the process `jobs`, all from `CARTSTREAM_*`."""

from pydantic import Field

from runtime.history import HistorySettings
from runtime.settings import ProcessSettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings


class JobsSettings(ProcessSettings, RedisSettings, PostgresSettings, HistorySettings):
    """The jobs' stores, and how they are paced."""

    ageing_pause_s: float = Field(
        300.0, gt=0, le=86_400, examples=[300], description="between two rounds over the rows of carts"
    )
    ageing_rows_per_s: int = Field(20_000, ge=1, examples=[20_000], description="rows looked at, at most")
    ageing_commands_per_s: int = Field(
        500, ge=1, examples=[500], description="expiries and purges published, at most"
    )

    relay_sweep_s: float = Field(
        1.0, gt=0, le=20, examples=[1], description="pause between looks at the outbox that nobody asked for"
    )

    settlement_pause_s: float = Field(
        2.0, gt=0, le=3600, examples=[2], description="between two rounds over the unsettled orders"
    )
    settlement_grace_s: float = Field(
        5.0, ge=0, le=3600, examples=[5], description="a younger order is its own checkout's to finish"
    )
    merge_pause_s: float = Field(
        2.0, gt=0, le=3600, examples=[2], description="between two rounds over merges that are not finished"
    )
    merge_grace_s: float = Field(
        5.0, ge=0, le=3600, examples=[5], description="whoever carries a merge on is left alone for as long"
    )
    merge_watch_pause_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        examples=[30],
        description="between two looks at guests' carts that were merged",
    )
    merge_watch_days: float = Field(
        7.0, gt=0, le=365, examples=[7], description="how long after its merge a guest's cart is looked at"
    )
    checkout_sweep_s: float = Field(
        5.0, gt=0, le=3600, examples=[5], description="between two looks for overdue checkouts"
    )
    history_pause_s: float = Field(
        3600.0, gt=0, le=86_400, examples=[3600], description="between two looks at the history's partitions"
    )
