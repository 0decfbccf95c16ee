"""Deliver a cart: what Redis has of it goes into Kafka, and from there into the row that is ordered from."""

import asyncio
from collections.abc import Sequence
from typing import Final

from carts.protocol import publish_allowed
from carts.state import State, uncovered
from gateway.carts.problems import restoring
from gateway.checkout import problems
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.records import record_of
from gateway.postgres.hydration import DatabaseUnavailable, Hydration
from gateway.resilience.deadline import Deadline, ask_until
from gateway.settings import GatewaySettings
from store.redis import (
    Applied,
    CartStore,
    Layout,
    Missing,
    OutboxEntry,
    Replayed,
    Restoring,
    WindowEntry,
)

_POLL_S: Final = 0.05
_PAGE: Final = 200
_APART_S: Final = 3.0
"""A Kafka that has acknowledged nothing for longer is not waited for; when a leader changes it is less."""


class CartDelivery:
    """Brings a cart's row up to date.

    A checkout orders from the row, never from Redis: Redis's copy may have fallen back to an older state,
    the row cannot.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        store: CartStore,
        layout: Layout,
        publisher: ChangePublisher,
        hydration: Hydration,
    ) -> None:
        self._settings = settings
        self._store = store
        self._layout = layout
        self._publisher = publisher
        self._hydration = hydration

    async def deliver(
        self, cart_id: str, deadline: Deadline, but: frozenset[str] = frozenset()
    ) -> State | None:
        """The cart's row, once it has every operation that Redis's copy had at the call; None without a cart.

        The operations `but` are not waited for. Raises Problem when the row does not get there in time.
        """
        try:
            async with asyncio.timeout(deadline.left()):
                return await self._deliver(cart_id, but)
        except TimeoutError:
            raise problems.not_delivered("it takes too long") from None

    async def _deliver(self, cart_id: str, but: frozenset[str]) -> State | None:
        window = await self._window(cart_id)
        if isinstance(window, Missing):
            return await self._complete_row(cart_id, window)
        window = [entry for entry in window if entry.op_id not in but]
        is_published = False
        while True:
            row = await self.row(cart_id)
            missing = _missing(row, window)
            if not missing:
                return row
            if not is_published:
                await self._publish_waiting(cart_id, missing)
                is_published = True
            elif self._publisher.apart_for() > _APART_S:
                raise problems.not_delivered("Kafka does not acknowledge them")
            await asyncio.sleep(_POLL_S)

    async def _complete_row(self, cart_id: str, missing: Missing) -> State | None:
        """The row of a cart that Redis lacks, once the rows are as far as those Redis was restored on."""
        while True:
            try:
                found = await self._hydration.find_missing(cart_id, missing)
            except DatabaseUnavailable as error:
                raise problems.database_unavailable() from error
            if found.counts:
                return found.state if isinstance(found.state, State) else None
            await asyncio.sleep(_POLL_S)

    async def row(self, cart_id: str) -> State | None:
        """The cart's row as it is. Raises Problem when Postgres does not answer."""
        try:
            found = await self._hydration.find(cart_id)
        except DatabaseUnavailable as error:
            raise problems.database_unavailable() from error
        return found if isinstance(found, State) else None

    async def publish(self, applied: Applied | Replayed) -> None:
        """Publish an operation that is in the outbox; what is not published here the sweeper publishes."""
        entry = applied.entry
        if entry is not None and publish_allowed(applied.oldest_outbox_us):
            await self._publisher.publish(applied.partition, record_of(entry))

    async def _window(self, cart_id: str) -> Sequence[WindowEntry] | Missing:
        window = await self._store.window(cart_id)
        if isinstance(window, Restoring):
            await self._store.request_restore(self._layout.partition(cart_id))
            window = await ask_until(
                lambda: self._store.window(cart_id),
                lambda answer: not isinstance(answer, Restoring),
                self._settings.restore_wait_s,
            )
        if isinstance(window, Restoring):
            raise restoring()
        return window

    async def _publish_waiting(self, cart_id: str, missing: Sequence[WindowEntry]) -> None:
        """Publish the operations of `missing` that are still in the outbox; the others are on their way."""
        waiting = {entry.outbox_id for entry in missing if entry.outbox_id is not None}
        if not waiting:
            return
        partition = self._layout.partition(cart_id)
        depths = await self._store.outbox_depths()
        if not publish_allowed(depths[partition].oldest_us):
            return
        entries = await self._entries(partition, waiting)
        await asyncio.gather(*(self._publisher.publish(partition, record_of(entry)) for entry in entries))

    async def _entries(self, partition: int, ids: set[str]) -> list[OutboxEntry]:
        found: list[OutboxEntry] = []
        after, last = _before(min(ids, key=_position)), _position(max(ids, key=_position))
        while _position(after) < last:
            page = await self._store.outbox_read(partition, after, _PAGE)
            if not page:
                break
            found += [entry for entry in page if entry.id in ids]
            after = page[-1].id
        return found


def _missing(row: State | None, window: Sequence[WindowEntry]) -> list[WindowEntry]:
    lacking = set(uncovered(row or State(), ((entry.version, entry.op_id) for entry in window)))
    return [entry for entry in window if (entry.version, entry.op_id) in lacking]


def _position(outbox_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = outbox_id.partition("-")
    return int(milliseconds), int(sequence)


def _before(outbox_id: str) -> str:
    milliseconds, sequence = _position(outbox_id)
    return f"{milliseconds}-{sequence - 1}" if sequence else f"{milliseconds - 1}-{2**64 - 1}"
