"""Settings of `sinks postgres`, all from `CARTSTREAM_*`."""

from pydantic import Field

from delivery.settings import DeliverySettings
from store.postgres.settings import PostgresSettings
from topics.registry import CARTS
from topics.settings import TopicSettings


class PostgresSinkSettings(DeliverySettings, TopicSettings, PostgresSettings):
    """The process `sinks postgres`."""

    max_record_bytes: int = Field(
        CARTS.max_message_bytes,
        ge=1 << 16,
        description="largest record of `carts` it reads; as large as the topic takes, so that each one "
        "fits into the dead letters",
    )
    sink_batch_records: int = Field(
        2000, ge=1, le=20_000, examples=[2000], description="most records written in one transaction"
    )
    sink_batch_seconds: float = Field(
        0.4,
        gt=0,
        le=10,
        examples=[0.4],
        description="time between two looks at the log without a backlog: what comes meanwhile is one "
        "batch. It adds half of that to the lag of a row, on average",
    )
