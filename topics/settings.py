"""The setting that every process must have alike: how many partitions the topics have."""

from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import PREFIX
from topics.registry import PARTITIONS

MAX_PARTITIONS: Final = 1024


class TopicSettings(BaseSettings):
    """The partitions of the topics, as `cartstream topics apply` made them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    partitions: int = Field(
        PARTITIONS,
        ge=1,
        le=MAX_PARTITIONS,
        examples=[PARTITIONS],
        description="partitions of a generation of topics, the same for every process",
    )
