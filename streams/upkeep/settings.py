"""Settings of the process `streams upkeep`, all from `CARTSTREAM_*`."""

from delivery import ProcessSettings
from store import PostgresSettings, RedisSettings


class UpkeepSettings(ProcessSettings, RedisSettings, PostgresSettings):
    """The duties' stores, and how they are paced."""
