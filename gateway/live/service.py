"""Live carts of one worker: opens streams within their limits, and tells them what changes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from gateway.carts.reading import Reader
from gateway.http.problems import INTERNAL_ERROR, STORE_UNAVAILABLE, Problem
from gateway.live import events
from gateway.live.events import LiveEvent
from gateway.live.feeds import Feed
from gateway.live.problems import streams_exhausted, too_many_streams
from gateway.live.settings import LiveSettings
from gateway.live.streams import Stream
from gateway.metrics import Metrics
from store.redis import CartStore, ChangeSubscriber, Restoring, StoreError

log = structlog.get_logger(__name__)

_READINGS: Final = 64
"""Carts read at once: after an outage every stream wants its cart."""


class LiveCarts:
    """All streams of a worker, by cart. It is the listener of the subscriber, and the source of the feeds."""

    def __init__(
        self,
        settings: LiveSettings,
        reader: Reader,
        store: CartStore,
        subscriber: ChangeSubscriber,
        metrics: Metrics,
    ) -> None:
        self._settings: Final = settings
        self._reader: Final = reader
        self._store: Final = store
        self._subscriber: Final = subscriber
        self._metrics: Final = metrics
        self._feeds: Final[dict[str, Feed]] = {}
        self._by_partition: Final[dict[int, set[Feed]]] = {}
        self._readings: Final = asyncio.Semaphore(_READINGS)
        self._count = 0
        self._is_leaving = False

    def start(self) -> None:
        """Listen from now on."""
        self._subscriber.start(self)

    def end_streams(self) -> None:
        """Let all clients come back elsewhere; streams opened from now on end at once."""
        self._is_leaving = True
        for feed in self._feeds.values():
            for stream in feed.streams:
                stream.end()

    async def close(self) -> None:
        """Listen no more."""
        await self._subscriber.close()
        for feed in [*self._feeds.values()]:
            await feed.stop()

    @contextmanager
    def stream(self, cart_id: str, last_event_id: str | None) -> Iterator[Stream]:
        """A stream of the cart while the context lasts. Raises Problem where there are too many."""
        if self._count >= self._settings.live_streams_max:
            raise streams_exhausted()
        feed = self._feeds.get(cart_id)
        if feed is not None and len(feed.streams) >= self._settings.live_streams_per_cart:
            raise too_many_streams(self._settings.live_streams_per_cart)
        stream = Stream(last_event_id)
        if self._is_leaving:
            stream.end()
        feed = feed or self._new_feed(cart_id)
        feed.streams.add(stream)
        feed.read()
        self._count += 1
        self._metrics.live_streams.set(self._count)
        try:
            yield stream
        finally:
            self._count -= 1
            self._metrics.live_streams.set(self._count)
            feed.streams.discard(stream)
            if not feed.streams:
                self._drop(feed)

    def changed(self, cart_id: str, tag: str) -> None:
        """A cart has changed (ChangeListener)."""
        feed = self._feeds.get(cart_id)
        if feed is not None:
            feed.heard(tag)

    def hearing(self, partition: int) -> None:
        """Changes of a partition may have been missed until now (ChangeListener)."""
        self._metrics.live_deaf.set(0)
        for feed in self._by_partition.get(partition, ()):
            feed.read()

    def deaf(self) -> None:
        """Changes are missed (ChangeListener). Nobody reads: Postgres could not bear all at once."""
        self._metrics.live_deaf.set(1)
        event = events.unavailable(_store_unavailable())
        for feed in self._feeds.values():
            feed.publish(event)

    async def event(self, cart_id: str) -> LiveEvent:
        """The cart as it is now (Source)."""
        try:
            async with self._readings:
                found = await self._reader.read(cart_id)
        except Problem as problem:
            return events.unavailable(problem)
        except StoreError as error:
            if error.retriable:
                return events.unavailable(_store_unavailable())
            log.exception("live.cart_not_read", cart_id=cart_id)
            return events.unavailable(_failed())
        if found.stale or self._subscriber.is_deaf:
            return events.stale(found)
        return events.current(found)

    async def is_readable(self, cart_id: str) -> bool:
        """Whether Redis can be asked for the cart again (Source)."""
        if self._subscriber.is_deaf:
            return False
        try:
            return not isinstance(await self._store.read(cart_id), Restoring)
        except StoreError:
            return False

    def _new_feed(self, cart_id: str) -> Feed:
        partition = self._store.partition(cart_id)
        feed = Feed(cart_id, partition, self, self._settings.live_pause_s)
        self._feeds[cart_id] = feed
        if partition not in self._by_partition:
            self._by_partition[partition] = set()
            self._subscriber.follow(partition)
        self._by_partition[partition].add(feed)
        return feed

    def _drop(self, feed: Feed) -> None:
        del self._feeds[feed.cart_id]
        others = self._by_partition[feed.partition]
        others.discard(feed)
        if not others:
            del self._by_partition[feed.partition]
            self._subscriber.leave(feed.partition)


def _failed() -> Problem:
    return Problem(INTERNAL_ERROR, "An error of the gateway, which cannot read the cart; it is in its log.")


def _store_unavailable() -> Problem:
    return Problem(
        STORE_UNAVAILABLE,
        "Redis does not answer, so changes of the cart are not seen. The stream goes on once it does.",
    )
