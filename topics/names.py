"""Names of this shop: prefix and generation of those in Kafka and Redis, and where the ids of schemas lead.

Several shops can share one cluster and one Redis.

Names are made here, once, when a process is loaded: no name is joined while it works, and none can be without
the prefix. Topics and consumer groups are `<prefix>.<name>`, keys and channels of Redis `<prefix>:<name>`.

Where a cart is depends on the number of partitions, so carts get new topics with another number: the next
generation. From the second one on its names say so: `<prefix>.carts.g2`, and `<prefix>:G2:` before the keys
of carts. A prefix has neither dots nor capitals, so no shop has a name of another one's generation.
"""

from typing import Final

from pydantic import Field

from runtime.settings import Settings, load


class NameSettings(Settings):
    """What the names and schema ids of this shop begin with, from the environment."""

    prefix: str = Field(
        "",
        # Neither a dot nor a colon: no name of one shop is that of another one.
        pattern=r"^([a-z0-9]+(-[a-z0-9]+)*)?$",
        max_length=32,
        examples=["shop-a"],
        description="what the names of topics, consumer groups and Redis keys begin with: small letters, "
        "digits and single hyphens. The same for every process and command of a shop, and fixed for its "
        "life: [two shops](../how-to/run-the-processes.md#two-shops-on-one-kafka-and-one-redis)",
    )
    schemas_url: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]*[^\s?#/])?$",
        max_length=200,
        examples=["https://carts.example.org/schemas"],
        description="where your consumers reach `/schemas` of the gateways: ids of schemas, as in "
        "`ce_dataschema`, are addresses below it. Empty: they are names, as `urn:cartstream:schema:carts:3`. "
        "The same for every process and command",
    )
    generation: int = Field(
        1,
        ge=1,
        le=9999,
        examples=[2],
        description="which generation of the topics of carts is used: `cartstream topics repartition` makes "
        "the next one and says what to set ([more partitions](../how-to/scale.md#more-partitions)). The same "
        "for every process and command of a shop",
    )


_SETTINGS: Final = load(NameSettings)
_SHOP: Final = _SETTINGS.prefix

GENERATION: Final = _SETTINGS.generation
"""The generation of the topics of carts that this process uses."""

IN_REDIS: Final = f"{_SHOP}:" if _SHOP else ""
"""What every key and every channel in Redis begins with."""


def in_kafka(name: str) -> str:
    """The name of a topic, a consumer group or a principal of this shop."""
    return f"{_SHOP}.{name}" if _SHOP else name


def of_this_shop(name: str) -> str:
    """The name in Kafka, given with the prefix or without it."""
    return name if name.startswith(in_kafka("")) else in_kafka(name)


def schema_urn(name: str, version: int) -> str:
    """What a published schema is called wherever it is: `urn:cartstream:schema:carts:3`."""
    return f"urn:cartstream:schema:{name}:{version}"


def schema_id(name: str, version: int) -> str:
    """The URI of a published schema in this shop's records: an address, where one is set, else its name."""
    return f"{_SETTINGS.schemas_url}/{name}/{version}" if _SETTINGS.schemas_url else schema_urn(name, version)


def of_carts(name: str, generation: int = GENERATION) -> str:
    """The name of a topic of carts, or of a consumer group that reads one, in a generation."""
    return in_kafka(name) if generation == 1 else f"{in_kafka(name)}.g{generation}"


def carts_in_redis(generation: int = GENERATION) -> str:
    """What every key and channel of carts in Redis begins with, in a generation."""
    return IN_REDIS if generation == 1 else f"{IN_REDIS}G{generation}:"
