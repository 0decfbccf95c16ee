"""What stands in the topics now, and somebody who writes whatever he likes into them."""

from aiokafka import AIOKafkaProducer

from carts.state import State
from ops.carts_index import CartsIndex
from ops.progress import silent
from runtime.kafka.ranges import RangeReader
from runtime.settings import KafkaSettings
from tests.support.topics import ends_of
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, PARTITIONS


async def state_in_carts(kafka: KafkaSettings, cart_id: str) -> State | None:
    """The newest state of a cart in `carts`."""
    return (await states_in_carts(kafka, [cart_id])).get(cart_id)


async def states_in_carts(kafka: KafkaSettings, carts: list[str]) -> dict[str, State]:
    """The newest states of carts in `carts`."""
    states: dict[str, State] = {}
    async with RangeReader(kafka) as reader:
        for partition in {partition_of(cart_id.encode(), PARTITIONS) for cart_id in carts}:
            index = CartsIndex(partition, PARTITIONS)
            await index.read(reader, silent("", 0), only=carts)
            found = {cart_id: entry.found() for cart_id, entry in index.entries.items()}
            states |= {cart_id: state for cart_id, state in found.items() if isinstance(state, State)}
    return states


async def changes_published(kafka: KafkaSettings) -> int:
    """How many records `cart-changed` has."""
    return sum((await ends_of(kafka, CART_CHANGED.name)).values())


class Changes:
    """Writes anything into `cart-changed`."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def raw(self, key: str, value: bytes | None, *, partition: int | None = None) -> None:
        """A record, by default in its right partition."""
        right = partition_of(key.encode(), PARTITIONS) if partition is None else partition
        await self._producer.send_and_wait(CART_CHANGED.name, value, key.encode(), right)
