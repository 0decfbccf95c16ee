"""What a request on a checkout may say, and what it is answered."""

import hashlib
from datetime import datetime
from typing import Annotated, Final

import msgspec

from carts.limits import LIMITS, MAX_SAFE_INTEGER
from carts.view import Adjustment, Totals
from gateway.carts.requests import FreeForm
from gateway.http.validation import check_metadata, invalid
from store.postgres.order_records import Checkout, CheckoutStatus
from topics.records import OrderLine

Email = Annotated[
    str,
    msgspec.Meta(
        max_length=254, pattern=r"^[^\s@]+@[^\s@]+$", description="where the confirmation of the order goes"
    ),
]
Reference = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, description="what the owner of orders calls the order")
]


class PlaceOrder(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Order what the cart holds. Everything may be left out, the body too.

    With `expected_total` (minor units) the order is placed only if it comes to just that.
    """

    email: Email | None = None
    metadata: FreeForm = {}
    expected_total: Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)] | None = None


class CompleteCheckout(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The owner of orders has sold what the checkout handed out."""

    order_id: Reference | None = None


class CheckoutDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout for the owner of orders; `version` is the cart's that `lines` are of, `order_id` theirs."""

    token: str
    cart_id: str
    status: CheckoutStatus
    expires_at: datetime
    version: str
    currency: str
    lines: list[OrderLine]
    adjustments: list[Adjustment]
    totals: Totals
    order_id: str | None = None


PLACE_ORDER: Final = msgspec.json.Decoder(PlaceOrder)
COMPLETE_CHECKOUT: Final = msgspec.json.Decoder(CompleteCheckout)


def check(body: PlaceOrder) -> None:
    """Raise the problem of what the schema cannot express."""
    # The schema's dialects differ on it: in some a line feed may follow what `$` ends.
    if body.email is not None and not body.email.isprintable():
        raise invalid("/email", "contains a control character, such as a line feed; remove it")
    if body.metadata:
        check_metadata(body.metadata, "/metadata", LIMITS.metadata_bytes)


def fingerprint(body: PlaceOrder) -> str:
    """16 hex digits that tell a retry from a key used for something else."""
    return hashlib.blake2b(msgspec.json.encode(body, order="sorted"), digest_size=8).hexdigest()


def document(checkout: Checkout) -> CheckoutDocument:
    """What the owner of orders is told of a checkout."""
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
        order_id=checkout.reference,
    )
