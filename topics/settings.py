"""The setting that every process must have alike: how many partitions the topics have."""

from typing import Final

from pydantic import Field

from runtime.settings import Settings
from topics.registry import PARTITIONS

MAX_PARTITIONS: Final = 1024


class TopicSettings(Settings):
    """The partitions of the topics, as `cartstream topics apply` made them."""

    partitions: int = Field(
        PARTITIONS,
        ge=1,
        le=MAX_PARTITIONS,
        examples=[PARTITIONS],
        description="number of partitions of every topic (P); fixed for the life of the topics",
    )
