"""The gateway's composition root: every part, made from the settings, connected to nothing yet."""

import os
import secrets
import socket
from typing import Self

import msgspec

from gateway.carts.changing import CartChanger
from gateway.carts.reading import CartReader
from gateway.health import HealthChecks
from gateway.hydration import Hydration
from gateway.metrics import Metrics
from gateway.outbox_bound import OutboxBound
from gateway.publisher import Publisher
from gateway.removals import Removals
from gateway.settings import GatewaySettings
from gateway.sweeper import Sweeper
from store import CartStore, Layout, PipelinedClient


class Parts(msgspec.Struct, frozen=True):
    """What one gateway process is made of."""

    settings: GatewaySettings
    metrics: Metrics
    client: PipelinedClient
    removals: Removals
    publisher: Publisher
    sweeper: Sweeper
    outbox_bound: OutboxBound
    hydration: Hydration
    health: HealthChecks
    reader: CartReader
    changer: CartChanger

    @classmethod
    def make(cls, settings: GatewaySettings) -> Self:
        """Put the parts together."""
        metrics = Metrics()
        layout = Layout(settings.partitions)
        client = PipelinedClient(settings, name="cartstream-gateway", patience_s=settings.redis_patience_s)
        store = CartStore(
            client,
            layout,
            idle_limit_s=settings.cart_idle_limit_s,
            outbox_max_bytes=settings.outbox_max_bytes,
        )
        removals = Removals(store, settings.partitions, metrics)
        publisher = Publisher(settings, settings.partitions, settings.publish_wait_s, metrics, removals.add)
        sweeper = Sweeper(
            store,
            publisher,
            metrics,
            owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            interval_s=settings.sweep_interval_s,
            age_s=settings.sweep_age_s,
        )
        hydration = Hydration(
            settings.postgres_url.get_secret_value(),
            settings.postgres_pool,
            settings.negative_cache_s,
            settings.negative_cache_size,
            metrics,
        )
        return cls(
            settings=settings,
            metrics=metrics,
            client=client,
            removals=removals,
            publisher=publisher,
            sweeper=sweeper,
            outbox_bound=OutboxBound(
                store, settings.outbox_max_bytes, settings.outbox_max_share, settings.partitions
            ),
            hydration=hydration,
            health=HealthChecks(store, publisher, hydration),
            reader=CartReader(settings, store, layout, hydration, metrics),
            changer=CartChanger(settings, store, layout, publisher, sweeper, hydration, metrics),
        )
