"""The bodies of checkout requests, and of the replies about external checkouts."""

import hashlib
from datetime import datetime
from typing import Annotated, Final

import msgspec

from carts.details import NO_DETAILS, Details
from carts.limits import LIMITS, MAX_SAFE_INTEGER
from carts.view import Adjustment, Totals
from gateway.carts.details import Email, check_email
from gateway.http.validation import FreeForm, storable_metadata
from store.postgres.order_records import Checkout, CheckoutStatus
from topics.records import OrderLine

Reference = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, description="the order's id at the owner of orders")
]


class PlaceOrder(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Order what is in the cart. Every field may be left out, and the body too; `email` is then the cart's.

    With `expected_total` (minor units) the order is placed only if it comes to exactly that.
    """

    email: Email | None = None
    metadata: FreeForm = {}
    expected_total: Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)] | None = None


class CompleteCheckout(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The owner of orders has sold the lines of the checkout."""

    order_id: Reference | None = None


class CheckoutDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An external checkout; `version` is that of the cart, `order_id` the id at the owner of orders."""

    token: str
    cart_id: str
    status: CheckoutStatus
    expires_at: datetime
    version: str
    currency: str
    lines: list[OrderLine]
    adjustments: list[Adjustment]
    totals: Totals
    details: Details = NO_DETAILS
    order_id: str | None = None


PLACE_ORDER: Final = msgspec.json.Decoder(PlaceOrder)
COMPLETE_CHECKOUT: Final = msgspec.json.Decoder(CompleteCheckout)


def checked(body: PlaceOrder) -> PlaceOrder:
    """The body as every store keeps it. Raises Problem for what the schema cannot express."""
    check_email(body.email, "/email")
    if not body.metadata:
        return body
    metadata = storable_metadata(body.metadata, "/metadata", LIMITS.metadata_bytes)
    return msgspec.structs.replace(body, metadata=metadata)


def fingerprint(body: PlaceOrder) -> str:
    """16 hex digits that tell a retry from another request with the same key."""
    return hashlib.blake2b(msgspec.json.encode(body, order="sorted"), digest_size=8).hexdigest()


def document(checkout: Checkout) -> CheckoutDocument:
    """The body of a reply about an external checkout."""
    snapshot = checkout.snapshot
    return CheckoutDocument(
        token=checkout.token,
        cart_id=checkout.cart_id,
        status=checkout.status,
        expires_at=checkout.expires_at,
        version=snapshot.version,
        currency=snapshot.currency,
        lines=snapshot.lines,
        adjustments=snapshot.adjustments,
        totals=snapshot.totals,
        details=snapshot.details,
        order_id=checkout.reference,
    )
