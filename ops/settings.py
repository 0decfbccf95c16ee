"""Settings of the commands that read all three stores: the variables of the processes."""

from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings
from streams.decisions import Rules
from streams.settings import StreamsSettings


class OpsSettings(StreamsSettings, PostgresSettings, RedisSettings):
    """Kafka, Redis, Postgres, and the rules that compaction folds by."""

    @property
    def rules(self) -> Rules:
        """The rules of the compaction agent in this environment."""
        return Rules(retention_us=self.retention_us, max_bytes=self.max_record_bytes)
