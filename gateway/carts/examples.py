"""A cart as the OpenAPI document shows it, and the bodies of requests that make one like it."""

from datetime import UTC, datetime
from typing import Final

from carts.details import Details
from carts.state import Status
from carts.view import Totals
from gateway.carts.details import DetailsOperation, PatchDetails, PostalAddress
from gateway.carts.requests import (
    AddItem,
    AddOperation,
    MintCart,
    PatchCart,
    PatchItem,
    PutItem,
    RemoveOperation,
    SetOperation,
)
from gateway.carts.shown import ShownCart, ShownLine

CART_ID: Final = "user:42"
GUEST_ID: Final = "guest:X7Qk2vTzRk2yM0bD3r5w8A"
VERSION: Final = "3596012345678902-7-0c35d1a09b7e"
TAG: Final = f'"{VERSION}"'
KEY: Final = "01931c5e-7d3a-7c4e-9a55-2f0b6d1c8e42"
"""An Idempotency-Key: a UUIDv7."""
RECEIPT: Final = "cart-changed/17/20481"
TIME: Final = datetime(2026, 11, 28, 6, 53, 1, tzinfo=UTC)

CART: Final = ShownCart(
    cart_id=CART_ID,
    status=Status.ACTIVE,
    version=VERSION,
    currency="EUR",
    lines=[
        ShownLine(
            line_id="mug",
            product_id="mug",
            quantity=2,
            unit_price=1999,
            line_total=3998,
            name="Mug",
            image_url="/images/mug.jpg",
        )
    ],
    totals=Totals(subtotal=3998, discount=0, tax=0, total=3998),
    metadata={},
    details=Details(email="ada@example.org", locale="en-GB"),
    created_at=TIME,
    updated_at=TIME,
)

ADD: Final = {
    "product": AddItem(product_id="mug", quantity=2),
    "options and metadata": AddItem(
        product_id="shirt", quantity=1, options={"size": "M"}, metadata={"gift": True}
    ),
    "without a catalogue": AddItem(product_id="mug", quantity=2, unit_price=1999, currency="EUR"),
}
PUT: Final = {"quantity": PutItem(3), "remove": PutItem(0)}
PATCH_ONE: Final = {"quantity": PatchItem(quantity=3), "metadata": PatchItem(metadata={"gift": True})}
PATCH: Final = {
    "several": PatchCart(
        [AddOperation(product_id="mug", quantity=2), SetOperation("shirt", 1), RemoveOperation("poster")]
    ),
    "details": PatchCart([DetailsOperation(locale="de-CH")]),
}
DETAILS: Final = {
    "e-mail and address": PatchDetails(
        email="ada@example.org",
        shipping_address=PostalAddress(
            name="Ada Lovelace", lines=("12 St James's Square",), city="London", country="GB"
        ),
    ),
    "remove": PatchDetails(email=None),
}
MINT: Final = {
    "empty": MintCart(),
    "items": MintCart(locale="en-GB", items=[AddItem(product_id="mug", quantity=2)]),
}
