"""The rows of carts, as a restoration finds them: written as far as a test wants, or unreadable."""

import psycopg
from aiokafka import TopicPartition

from carts.lifetime import Lifetime
from carts.state import State
from runtime.kafka.ranges import RangeReader
from sinks.postgres.batch import newest
from sinks.postgres.table import CartsTable
from sinks.redis.restore import Restorer
from sinks.redis.rows import Rows
from store.postgres.positions import Position
from store.redis import CartStore
from tests.sinks.restore_fixtures import LAYOUT, Redis
from tests.sinks.test_batch import row
from topics.registry import CARTS

LIFETIME = Lifetime(idle_s=7 * 86_400)
PARTITION = 9


class Table:
    """The rows of a partition, written as far as a test wants."""

    def __init__(self, table: CartsTable, reader: RangeReader) -> None:
        self._table = table
        self._reader = reader

    async def end(self, partition: int = PARTITION) -> int:
        """The end of `carts`."""
        return (await self._reader.bounds(TopicPartition(CARTS.name, partition))).end

    async def topic_id(self) -> str:
        """The id of `carts`."""
        return await self._reader.topic_id(CARTS.name)

    async def write(self, states: dict[str, State]) -> None:
        """The rows of these carts."""
        await self._table.write(newest(row(cart_id, state) for cart_id, state in states.items()))

    async def stand_at(self, position: int, topic_id: str | None = None, partition: int = PARTITION) -> None:
        """From now on the rows are as far as this."""
        topic_id = await self.topic_id() if topic_id is None else topic_id
        await self._table.begin([Position(partition, topic_id, position)])


async def break_row(database: str, cart_id: str) -> None:
    """Let nobody read the cart's row."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("UPDATE carts SET state = '{\"ops\": 1}' WHERE cart_id = %s", [cart_id])


def restorer(redis: Redis, rows: Rows, store: CartStore | None = None) -> Restorer:
    return Restorer(store or redis.store, LAYOUT, redis.settings, LIFETIME, rows)
