"""Who owns products and orders: each fact has one owner, and a setting says who it is."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from runtime.settings import Settings


class ProductsOwner(StrEnum):
    """Whose word on name, price and stock counts."""

    INTERNAL = "internal"
    """This system: the table `products` in Postgres."""
    EXTERNAL = "external"
    """Another one, such as the monolith: it sends its products with versions of its own."""
    CALLER = "caller"
    """There is no catalogue: who adds to a cart states price and currency."""


class OrdersOwner(StrEnum):
    """Who turns a cart into an order."""

    INTERNAL = "internal"
    """This system, in one transaction with the stock in Postgres."""
    EXTERNAL = "external"
    """Another one: checkout hands out a token and the lines, and hears of the order's outcome."""


class OwnerSettings(Settings):
    """The owners, from `CARTSTREAM_PRODUCTS_OWNER` and `CARTSTREAM_ORDERS_OWNER`."""

    products_owner: ProductsOwner = Field(
        ProductsOwner.INTERNAL,
        examples=[ProductsOwner.INTERNAL.value],
        description="`internal`: products are kept in the table `products`; `external`: another system "
        "sends them; `caller`: no catalogue, the request states the price",
    )
    orders_owner: OrdersOwner = Field(
        OrdersOwner.INTERNAL,
        examples=[OrdersOwner.INTERNAL.value],
        description="`internal`: orders are kept here (needs internal products); `external`: another "
        "system keeps them",
    )

    @model_validator(mode="after")
    def _orders_find_their_products(self) -> Self:
        if self.orders_owner is OrdersOwner.INTERNAL and self.products_owner is not ProductsOwner.INTERNAL:
            raise ValueError(
                "CARTSTREAM_ORDERS_OWNER: internal orders take their stock from products that are kept here, "
                f"and CARTSTREAM_PRODUCTS_OWNER is {self.products_owner}. "
                f"A right value: CARTSTREAM_ORDERS_OWNER={OrdersOwner.EXTERNAL}"
            )
        return self
