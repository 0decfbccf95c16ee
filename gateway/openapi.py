"""The OpenAPI 3.1 description of the gateway: the features put together."""

from typing import Any, Final

from gateway.carts import openapi as carts
from gateway.carts.routes import CartRoutes
from gateway.checkout import openapi as checkout
from gateway.checkout.routes import CheckoutRoutes
from gateway.health import openapi as health
from gateway.health.routes import HealthRoutes
from gateway.history.routes import HistoryRoutes
from gateway.http.openapi import paths_of, problem_types, with_schemas
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

FEATURES: Final = (
    GuestRoutes,
    CartRoutes,
    LiveRoutes,
    MergeRoutes,
    ProductRoutes,
    CheckoutRoutes,
    OrderRoutes,
    HistoryRoutes,
    RecoveryRoutes,
    HealthRoutes,
)
_PARAMETERS: Final = (
    carts.PARAMETERS
    | products.PARAMETERS
    | checkout.PARAMETERS
    | orders.PARAMETERS
    | merges.PARAMETERS
    | recovery.PARAMETERS
    | health.PARAMETERS
)
_ABOUT: Final = (
    "Carts that survive anything. In production mode callers prove who they are; in development mode every "
    "caller may read and change every cart. "
    "Errors are problem details; their types: "
)


def document() -> dict[str, Any]:
    """The whole document, JSON-serialisable."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cartstream gateway",
            "version": "1",
            "description": _ABOUT + ", ".join(f"`{kind.uri}`" for kind in problem_types()),
        },
        **with_schemas(paths_of(FEATURES, _PARAMETERS), checkout.SCHEMAS, identity.SECURITY_SCHEMES),
    }
