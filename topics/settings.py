"""What every process must have alike: what the topics are called, and how many partitions they have."""

from typing import Final

from pydantic import Field

from topics.names import NameSettings
from topics.registry import PARTITIONS

MAX_PARTITIONS: Final = 1024


class TopicSettings(NameSettings):
    """The topics, as `cartstream topics apply` made them."""

    partitions: int = Field(
        PARTITIONS,
        ge=1,
        le=MAX_PARTITIONS,
        examples=[PARTITIONS],
        description="number of partitions of every topic (P); fixed for the life of the topics",
    )
