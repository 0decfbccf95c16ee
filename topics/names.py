"""The prefix of every name in Kafka and Redis: several shops can share one cluster and one Redis.

Names are made here, once, when a process is loaded: no name is joined while it works, and none can be without
the prefix. Topics and consumer groups are `<prefix>.<name>`, keys and channels of Redis `<prefix>:<name>`.
"""

from typing import Final

from pydantic import Field

from runtime.settings import Settings, load


class NameSettings(Settings):
    """What the names of this shop begin with, from `CARTSTREAM_PREFIX`."""

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


_SHOP: Final = load(NameSettings).prefix

IN_REDIS: Final = f"{_SHOP}:" if _SHOP else ""
"""What every key and every channel in Redis begins with."""


def in_kafka(name: str) -> str:
    """The name of a topic, a consumer group or a principal of this shop."""
    return f"{_SHOP}.{name}" if _SHOP else name
