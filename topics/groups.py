"""The consumer groups. A restore reads how far another process has got, so the names are shared."""

from typing import Final, NamedTuple

from topics.names import in_kafka, of_carts
from topics.registry import CART_CHANGED, CART_MERGES, CARTS, ORDERS, PRODUCTS

COMPACTION: Final = of_carts("cartstream-compaction")
"""Folds `cart-changed`; everything below its committed offset is in `carts`."""

POSTGRES_SINK: Final = of_carts("cartstream-postgres")
"""Writes `carts` into Postgres."""

REDIS_SINK: Final = of_carts("cartstream-redis")
"""Restores Redis and follows `carts`; its committed offsets only inform, its position is in Redis."""

CATALOGUE_SINK: Final = in_kafka("cartstream-redis-products")
"""Keeps the products in Redis; here, too, the position in Redis alone counts."""

MERGES: Final = in_kafka("cartstream-merges")
"""Carries on the merges that `cart-merges` names."""

MAIL_SINK: Final = in_kafka("cartstream-mail")
"""Sends the mails that `orders` asks for."""

HISTORY_SINK: Final = of_carts("cartstream-history")
"""Writes every operation of `cart-changed` into Postgres, where there is a history."""


class Group(NamedTuple):
    """A consumer group: what it reads, and the command of its workers."""

    name: str
    topic: str
    command: str
    position_in_redis: bool = False


GROUPS: Final = (
    Group(COMPACTION, CART_CHANGED.name, "streams compaction"),
    Group(MERGES, CART_MERGES.name, "streams merges"),
    Group(POSTGRES_SINK, CARTS.name, "sinks postgres"),
    Group(REDIS_SINK, CARTS.name, "sinks redis", position_in_redis=True),
    Group(CATALOGUE_SINK, PRODUCTS.name, "sinks redis", position_in_redis=True),
    Group(MAIL_SINK, ORDERS.name, "sinks mail"),
    Group(HISTORY_SINK, CART_CHANGED.name, "sinks history"),
)


def group_of(command: str) -> str:
    """The group of the workers of a command, such as `sinks redis`; the first one, if they have several."""
    return next(group.name for group in GROUPS if group.command == command)
