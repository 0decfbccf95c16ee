"""Settings of the process `streams upkeep`, all from `CARTSTREAM_*`."""

from pydantic import Field

from delivery import ProcessSettings
from store import PostgresSettings, RedisSettings


class UpkeepSettings(ProcessSettings, RedisSettings, PostgresSettings):
    """The duties' stores, and how they are paced."""

    relay_sweep_s: float = Field(
        1.0, gt=0, le=20, examples=[1], description="pause between looks at the outbox that nobody asked for"
    )
