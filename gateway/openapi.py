"""The OpenAPI 3.1 description of the gateway: the features put together.

`python -m gateway.openapi` prints it.
"""

import sys
from typing import Any, Final

import msgspec

from gateway.carts import openapi as carts
from gateway.carts.routes import CartRoutes
from gateway.checkout import openapi as checkout
from gateway.checkout.routes import CheckoutRoutes
from gateway.docs import openapi as docs
from gateway.docs.routes import DocsRoutes
from gateway.health import openapi as health
from gateway.health.routes import HealthRoutes
from gateway.history.routes import HistoryRoutes
from gateway.http.openapi_document import Tag, paths_of, with_components
from gateway.identity import openapi as identity
from gateway.identity.routes import GuestRoutes
from gateway.live.routes import LiveRoutes
from gateway.merges import openapi as merges
from gateway.merges.routes import MergeRoutes
from gateway.orders import openapi as orders
from gateway.orders.routes import OrderRoutes
from gateway.products import openapi as products
from gateway.products.routes import ProductRoutes
from gateway.recovery import openapi as recovery
from gateway.recovery.routes import RecoveryRoutes

_OPERATION: Final = Tag("Operation", "Health, metrics, this description. For those who run the gateway.")

FEATURES: Final = (
    (GuestRoutes, Tag("Guests", "Carts of shoppers who have not logged in, and the tokens that prove them.")),
    (CartRoutes, Tag("Carts", "Read a cart and change it. A change with an Idempotency-Key applies once.")),
    (LiveRoutes, Tag("Live carts", "The cart again whenever it has changed, as server-sent events.")),
    (MergeRoutes, Tag("Merges", "A guest's cart goes into the user's at login.")),
    (ProductRoutes, Tag("Catalogue", "Products and their prices, where this gateway has a catalogue.")),
    (CheckoutRoutes, Tag("Checkout", "Order what is in the cart, here or at the system that keeps orders.")),
    (OrderRoutes, Tag("Orders", "What was ordered, and its cancelling.")),
    (HistoryRoutes, Tag("History", "What was done to a cart, where a history is kept.")),
    (RecoveryRoutes, Tag("Links", "Where links in messages about carts left behind lead.")),
    (HealthRoutes, _OPERATION),
    (DocsRoutes, _OPERATION),
)
"""The classes with routes, and the part of the API that each is."""
_PARAMETERS: Final = (
    carts.PARAMETERS
    | products.PARAMETERS
    | checkout.PARAMETERS
    | orders.PARAMETERS
    | merges.PARAMETERS
    | recovery.PARAMETERS
    | health.PARAMETERS
    | docs.PARAMETERS
)
_RULES: Final = carts.RULES | merges.RULES | products.RULES
_ABOUT: Final = """\
Carts that survive anything. In production mode callers prove who they are; in development mode every caller
may read and change every cart.

Errors are problem details (RFC 9457); the `type` of each leads to a page that says whether to send the
request again. HEAD is answered wherever GET is, OPTIONS at every path. Ignore fields and headers that you do
not know.
"""
_VERSION: Final = "0.1.0"
"""Of the contract: that of the release it comes with."""


def document() -> dict[str, Any]:
    """The whole document, JSON-serialisable."""
    tags = dict.fromkeys(tag for _, tag in FEATURES)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cartstream gateway",
            "version": _VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "the gateway that serves this document"}],
        "tags": [msgspec.to_builtins(tag) for tag in tags],
        **with_components(
            paths_of(FEATURES, _PARAMETERS), checkout.SCHEMAS, _RULES, identity.SECURITY_SCHEMES
        ),
    }


def main() -> None:
    """Print the document."""
    encoded = msgspec.json.format(msgspec.json.encode(document(), order="deterministic"), indent=1)
    sys.stdout.write(encoded.decode() + "\n")


if __name__ == "__main__":
    main()
