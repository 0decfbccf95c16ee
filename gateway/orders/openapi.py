"""Orders in the OpenAPI description."""

from typing import Final

from carts.view import Totals
from gateway.carts.examples import CART_ID, TIME
from gateway.http.grammars import identifier
from gateway.http.openapi import number, operation, path_parameter, reply
from gateway.http.problems import DATABASE_UNAVAILABLE, ORDER_NOT_FOUND, ORDERS_ELSEWHERE
from gateway.orders.requests import DEFAULT_LIMIT, MAX_LIMIT, MAX_SEQ
from gateway.orders.service import OrderPage
from topics.records import OrderLine, OrderRecord, OrderStatus

ORDER_ID: Final = "o_0af7651916cd43dd8448eb211c80319c"
ORDER: Final = OrderRecord(
    order_id=ORDER_ID,
    cart_id=CART_ID,
    seq=1,
    status=OrderStatus.PLACED,
    version=1,
    currency="EUR",
    lines=[OrderLine("mug", "mug", 2, 1999, "Mug")],
    totals=Totals(subtotal=3998, discount=0, tax=0, total=3998),
    placed_at=TIME,
    email="ada@example.org",
)

PARAMETERS: Final = {
    "order_id": path_parameter("order_id", "as the checkout answered it", ORDER_ID, identifier("order_id"))
}

LIST: Final = operation(
    "listOrders",
    "The cart's orders, newest first",
    {"200": reply("A page", OrderPage, example=OrderPage([ORDER], None))},
    problems=(DATABASE_UNAVAILABLE,),
    parameters=[
        number("cursor", "next_cursor of the page before", 1, MAX_SEQ),
        number("limit", f"{DEFAULT_LIMIT} unless given", DEFAULT_LIMIT, MAX_LIMIT),
    ],
)
READ: Final = operation(
    "readOrder",
    "The order as it is now",
    {"200": reply("The order", OrderRecord, example=ORDER)},
    problems=(DATABASE_UNAVAILABLE, ORDER_NOT_FOUND),
)
CANCEL: Final = operation(
    "cancelOrder",
    "Cancel the order: its quantities go back into the stock, its cart stays as it is",
    {"200": reply("The order, cancelled now or before", OrderRecord, example=ORDER)},
    problems=(DATABASE_UNAVAILABLE, ORDER_NOT_FOUND, ORDERS_ELSEWHERE),
)
