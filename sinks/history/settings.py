"""Settings of `sinks history`, all from `CARTSTREAM_*`."""

from pydantic import Field

from delivery.settings import DeliverySettings
from store.postgres.settings import PostgresSettings
from topics.settings import TopicSettings


class HistorySinkSettings(DeliverySettings, TopicSettings, PostgresSettings):
    """The process `sinks history`."""

    history_batch_records: int = Field(
        2000, ge=1, le=20_000, examples=[2000], description="most operations written in one transaction"
    )
    history_batch_seconds: float = Field(
        0.4,
        gt=0,
        le=10,
        examples=[0.4],
        description="time between two looks at the log without a backlog: what comes meanwhile is one "
        "batch. It adds half of that to the lag of the history, on average",
    )
