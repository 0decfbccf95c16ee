"""The gateway's composition root: every object of a process, made from settings, connected to nothing yet."""

import os
import secrets
import socket
from functools import partial
from typing import Self

import msgspec

from gateway.carts.reading import CartReader, ChangedCarts, PlainCarts, Reader
from gateway.carts.service import CartService, Prices
from gateway.checkout.delivery import CartDelivery
from gateway.checkout.external import ExternalCheckouts
from gateway.checkout.internal import InternalCheckouts
from gateway.checkout.routes import Checkouts
from gateway.checkout.service import CheckoutCarts
from gateway.erasure.service import Erasure
from gateway.health.checks import HealthChecks
from gateway.health.topics import TopicsCheck
from gateway.history.service import CartHistory
from gateway.identity.identity import Identity
from gateway.live.service import LiveCarts
from gateway.merges.carts import DeliveredCarts
from gateway.merges.service import MergeService
from gateway.metrics import Metrics
from gateway.orders.service import OrderService
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.sweeper import Sweeper
from gateway.outbox.trimming import OutboxTrimmer
from gateway.postgres.database import Database
from gateway.postgres.hydration import Hydration
from gateway.pricing.prices import CataloguePrices, StatedPrices
from gateway.pricing.reading import CatalogueLines, PricedReader
from gateway.pricing.service import Hook, Pricing
from gateway.products.external import ExternalProducts
from gateway.products.internal import InternalProducts
from gateway.products.service import Catalogue
from gateway.rates.service import Rates
from gateway.recovery.service import Recovery
from gateway.resilience.storage import StorageWatch
from gateway.server.addresses import Addresses
from gateway.server.admission import Admission
from gateway.server.pressure import Pressure
from gateway.settings import GatewaySettings
from merges.catalogue import CachedCatalogue
from merges.saga import Saga
from runtime.owners import OrdersOwner, ProductsOwner
from store.redis import CartStore, ChangeSubscriber, Layout, PipelinedClient, SharedRates, Tickets
from store.redis.catalogue import ProductCache
from store.redis.quantities import LineQuantities
from topics.registry import CART_CHANGED, PRODUCTS, TopicSpec


class Container(msgspec.Struct, frozen=True):
    """The objects of one gateway process that somebody asks for by name."""

    settings: GatewaySettings
    metrics: Metrics
    admission: Admission
    pressure: Pressure
    rates: Rates
    client: PipelinedClient
    trimmer: OutboxTrimmer
    publisher: ChangePublisher
    sweeper: Sweeper
    storage: StorageWatch
    hydration: Hydration
    topics: TopicsCheck
    health: HealthChecks
    database: Database
    catalogue: Catalogue | None
    pricing: Pricing
    reader: Reader
    changed_carts: ChangedCarts
    carts: CartService
    erasure: Erasure
    history: CartHistory
    live: LiveCarts
    tickets: Tickets
    checkouts: Checkouts
    orders: OrderService
    merges: MergeService
    identity: Identity
    recovery: Recovery

    @classmethod
    def build(cls, settings: GatewaySettings) -> Self:
        """Make everything that these settings ask for."""
        metrics = Metrics()
        layout = Layout(settings.partitions)
        admission = Admission(settings.shed_delay_s, settings.shed_in_flight)
        client = PipelinedClient(
            settings,
            name="cartstream-gateway",
            patience_s=settings.redis_patience_s,
            waited=partial(_redis_answered, admission, metrics),
        )
        rates = Rates(settings, Addresses.behind(settings.proxy_networks), SharedRates(client), metrics)
        hydration = Hydration(
            settings.postgres_address,
            settings.postgres_pool,
            settings.negative_cache_s,
            settings.negative_cache_size,
            settings.lifetime,
            layout.partition,
            metrics,
        )
        store = CartStore(
            client,
            layout,
            lifetime=settings.lifetime,
            outbox_max_bytes=settings.outbox_max_bytes,
            rows=hydration,
        )
        trimmer = OutboxTrimmer(store, settings.partitions, metrics)
        publisher = ChangePublisher(
            settings, settings.partitions, settings.publish_wait_s, metrics, trimmer.add
        )
        sweeper = Sweeper(
            store,
            publisher,
            metrics,
            owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            interval_s=settings.sweep_interval_s,
            age_s=settings.sweep_age_s,
        )
        database = Database(settings.postgres_address, settings.database_pool)
        catalogue = _catalogue(settings, client, database, publisher)
        prices: Prices = StatedPrices()
        if catalogue is not None:
            prices = CataloguePrices(catalogue.cache, LineQuantities(client, layout))
        hook = _hook(settings, metrics)
        pricing = Pricing(None if catalogue is None else catalogue.cache, hook)
        reader: Reader = CartReader(settings, store, hydration, metrics)
        if catalogue is not None or hook is not None:
            reader = PricedReader(reader, pricing)
        delivery = CartDelivery(settings, store, layout, publisher, hydration)
        subscriber = ChangeSubscriber(
            settings, layout, name="cartstream-gateway-live", patience_s=settings.redis_patience_s
        )
        tickets = Tickets(client, settings.live_ticket_s)
        checkout_carts = CheckoutCarts(store, delivery, database, metrics)
        saga = Saga(
            store,
            database,
            DeliveredCarts(delivery, hydration, settings.merge_wait_s),
            CachedCatalogue(client, callers_name_prices=settings.products_owner is ProductsOwner.CALLER),
        )
        identity = Identity(
            settings, tickets, rates, orders_elsewhere=settings.orders_owner is OrdersOwner.EXTERNAL
        )
        storage = StorageWatch(store, None if catalogue is None else catalogue.cache, settings, metrics)
        topics = TopicsCheck(settings, settings.partitions, _topics(settings), settings.other_partitions)
        return cls(
            settings=settings,
            metrics=metrics,
            admission=admission,
            pressure=Pressure(admission, metrics, client.unanswered_s),
            rates=rates,
            client=client,
            trimmer=trimmer,
            publisher=publisher,
            sweeper=sweeper,
            storage=storage,
            hydration=hydration,
            topics=topics,
            health=HealthChecks(settings, store, publisher, hydration, topics, storage),
            database=database,
            catalogue=catalogue,
            pricing=pricing,
            reader=reader,
            changed_carts=PlainCarts() if catalogue is None else CatalogueLines(pricing),
            carts=CartService(settings, store, prices, publisher, sweeper, hydration, metrics),
            erasure=Erasure(store, database, settings.erasure_wait_s),
            history=CartHistory(settings, database),
            live=LiveCarts(settings, reader, store, subscriber, metrics),
            tickets=tickets,
            checkouts=(
                InternalCheckouts(settings, store, database, pricing, checkout_carts, metrics)
                if settings.orders_owner is OrdersOwner.INTERNAL
                else ExternalCheckouts(settings, database, pricing, checkout_carts, metrics)
            ),
            orders=OrderService(database, settings.orders_owner),
            merges=MergeService(settings, database, saga, metrics),
            identity=identity,
            recovery=Recovery(settings.links, database, identity.guests),
        )


def _redis_answered(admission: Admission, metrics: Metrics, seconds: float) -> None:
    admission.waited(seconds)
    metrics.redis_seconds.observe(seconds)


def _topics(settings: GatewaySettings) -> list[TopicSpec]:
    """The topics that a gateway writes to by itself."""
    products = [PRODUCTS] if settings.products_owner is ProductsOwner.EXTERNAL else []
    return [CART_CHANGED, *products]


def _catalogue(
    settings: GatewaySettings, client: PipelinedClient, database: Database, publisher: ChangePublisher
) -> Catalogue | None:
    match settings.products_owner:
        case ProductsOwner.CALLER:
            return None
        case ProductsOwner.INTERNAL:
            return Catalogue(ProductCache(client), InternalProducts(database))
        case ProductsOwner.EXTERNAL:
            cache = ProductCache(client)
            return Catalogue(cache, ExternalProducts(publisher, cache, settings.partitions_of(PRODUCTS.name)))


def _hook(settings: GatewaySettings, metrics: Metrics) -> Hook | None:
    if settings.pricing_url is None:
        return None
    # Its client library takes long to import, and most shops have no hook.
    from gateway.pricing.hook import PricingHook  # noqa: PLC0415

    return PricingHook(settings.pricing_url, settings.pricing_timeout_s, metrics)
