"""Orders for the tests of mails."""

from datetime import UTC, datetime
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata
from msgspec.structs import replace

from carts.view import Totals
from topics.codec import encode_order
from topics.headers import order_headers
from topics.partitioner import partition_of
from topics.records import OrderLine, OrderRecord, OrderStatus
from topics.registry import ORDERS, PARTITIONS

PLACED = OrderRecord(
    order_id="order-1",
    cart_id="user:42",
    seq=1,
    status=OrderStatus.PLACED,
    version=1,
    currency="EUR",
    lines=[
        OrderLine("shirt-1~x", "shirt-1", 2, 1999, "Shirt <b>Zoë</b>", {"size": "M"}),
        OrderLine("mug", "mug", 1, 850),
    ],
    totals=Totals(4848, 400, 0, 4448),
    email="ada@example.org",
    placed_at=datetime(2026, 11, 24, 9, 5, tzinfo=UTC),
)


def new_order(email: str | None = None, partition: int | None = None) -> OrderRecord:
    """An order that no other test has, with an address of its own unless one is given."""
    while True:
        name = uuid4().hex
        order_id = f"order-{name}"
        if partition is None or partition_of(order_id.encode(), PARTITIONS) == partition:
            return replace(PLACED, order_id=order_id, email=email or f"{name}@example.org")


def cancelled(order: OrderRecord) -> OrderRecord:
    """The order once it is cancelled."""
    return replace(
        order,
        status=OrderStatus.CANCELLED,
        version=2,
        cancelled_at=datetime(2026, 11, 24, 10, 0, tzinfo=UTC),
    )


async def publish(producer: AIOKafkaProducer, *orders: OrderRecord) -> list[RecordMetadata]:
    """Publish the orders as the relay does."""
    return [
        await producer.send_and_wait(
            ORDERS.name,
            encode_order(order),
            order.order_id.encode(),
            partition_of(order.order_id.encode(), PARTITIONS),
            headers=order_headers(order),
        )
        for order in orders
    ]
