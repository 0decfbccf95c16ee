"""What every process must have alike: what the topics are called, and how many partitions they have."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, model_validator

from runtime.settings import Settings
from topics.names import NameSettings
from topics.registry import PARTITIONS, partitions_of

MAX_PARTITIONS: Final = 1024


class TopicSettings(NameSettings):
    """The topics, as `cartstream topics apply` made them."""

    partitions: int = Field(
        PARTITIONS,
        ge=1,
        le=MAX_PARTITIONS,
        examples=[PARTITIONS],
        description="number of partitions of the topics of carts (P), and of all others unless "
        "`CARTSTREAM_OTHER_PARTITIONS` says more; fixed for the life of the topics: "
        "[more partitions](../how-to/scale.md#more-partitions)",
    )
    other_partitions: int | None = Field(
        None,
        ge=1,
        le=MAX_PARTITIONS,
        examples=[PARTITIONS],
        description="number of partitions of all other topics (products, orders, …), where carts have been "
        "moved to another number; not set: as many as those of carts",
    )

    def partitions_of(self, topic: str) -> int:
        """How many partitions the topic of this name has."""
        return partitions_of(topic, self.partitions, self.other_partitions)


class SchemaRegistrySettings(Settings):
    """Where the schema registry is, and who asks it, from `CARTSTREAM_SCHEMA_REGISTRY_*`."""

    schema_registry_url: str = Field(
        "http://127.0.0.1:8081",
        pattern=r"^https?://[^\s?#]+$",
        examples=["https://registry.example.org"],
        description="address of a schema registry with Confluent's REST API",
    )
    schema_registry_user: str | None = Field(None, description="needed with the password")
    schema_registry_password: SecretStr | None = Field(None, description="needed with the user")
    schema_registry_token: SecretStr | None = Field(
        None, description="bearer token, instead of user and password"
    )
    schema_registry_tls_ca: Path | None = Field(None, description="CA bundle (PEM); without it the system's")

    @model_validator(mode="after")
    def _proves_one_caller(self) -> Self:
        if (self.schema_registry_user is None) != (self.schema_registry_password is None):
            raise ValueError(
                "CARTSTREAM_SCHEMA_REGISTRY_USER and _PASSWORD belong together: set both of them, or none"
            )
        if self.schema_registry_user is not None and self.schema_registry_token is not None:
            raise ValueError("CARTSTREAM_SCHEMA_REGISTRY_USER and _TOKEN name two callers: set one of them")
        return self
