"""The Sanic app of the gateway."""

from typing import Any, Final

from sanic import Sanic

from gateway import lifecycle
from gateway.bootstrap import Container
from gateway.carts.routes import CartRoutes
from gateway.checkout.routes import CheckoutRoutes
from gateway.demo.routes import DemoRoutes
from gateway.demo.service import RedisWipe
from gateway.docs.routes import DocsRoutes
from gateway.health.routes import HealthRoutes
from gateway.history.routes import HistoryRoutes
from gateway.http.names import Names, Sharing, share
from gateway.http.problems import AnsweredRequest, ProblemHandler
from gateway.http.routing import RememberingRouter, add_routes
from gateway.identity.routes import GuestRoutes
from gateway.identity.settings import Mode
from gateway.live.delivery import Delivery
from gateway.live.routes import LiveRoutes
from gateway.merges.routes import MergeRoutes
from gateway.openapi import document
from gateway.orders.routes import OrderRoutes
from gateway.products.routes import ProductRoutes
from gateway.recovery.routes import RecoveryRoutes
from gateway.server.bounds import Bounds
from gateway.server.sanic_internals import HookedApp, name_every_status

NAME: Final = "cartstream-gateway"


def create_app(container: Container) -> Sanic[Any, Any]:
    """An app with all routes and listeners over these container; it connects when its server starts."""
    settings = container.settings
    name_every_status()
    router = RememberingRouter(Names(settings.names, open_to_all=settings.mode is Mode.PRODUCTION))
    sharing = Sharing(settings.origins)
    app = HookedApp(
        "cartstream-gateway",
        router=router,
        error_handler=ProblemHandler(),
        request_class=AnsweredRequest,
        configure_logging=False,
    )
    app.config.update(
        {
            "ACCESS_LOG": settings.access_log,
            "REQUEST_MAX_SIZE": settings.body_bytes,
            "KEEP_ALIVE_TIMEOUT": settings.keep_alive_s,
            # The last resort: every wait of a request ends at its deadline, with a better answer.
            "RESPONSE_TIMEOUT": settings.longest_request_s + 1,
        }
    )
    app.ctx.metrics = container.metrics
    app.ctx.bounds = Bounds(
        settings,
        settings.body_bytes,
        container.metrics,
        container.admission,
        container.rates,
        sharing,
        router.priority_of,
    )
    app.ctx.guard = container.identity.guard
    for feature in (
        GuestRoutes(container.identity.guests, container.carts, container.changed_carts, container.rates),
        CartRoutes(
            container.reader,
            container.carts,
            container.changed_carts,
            container.erasure,
            container.history,
            container.metrics,
        ),
        LiveRoutes(container.live, Delivery(settings, container.metrics), container.tickets),
        MergeRoutes(container.merges, container.identity),
        ProductRoutes(
            container.catalogue,
            container.rates,
            settings.products_max_age_s,
            container.storage,
            container.admission,
        ),
        CheckoutRoutes(container.checkouts, container.metrics),
        OrderRoutes(container.orders),
        HistoryRoutes(container.history),
        RecoveryRoutes(container.recovery),
        HealthRoutes(container.health, container.metrics),
        DocsRoutes(document(), settings.partitions, settings.other_partitions),
    ):
        add_routes(app, feature, container.identity.guard)
    if settings.mode is Mode.DEVELOPMENT:
        demo = DemoRoutes(RedisWipe(container.client), settings.mailbox_url, settings.ops_url)
        add_routes(app, demo, container.identity.guard)
    share(app, sharing)
    lifecycle.register(app, container)
    return app
