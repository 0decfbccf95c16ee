"""Read carts: from Redis, or from Postgres where Redis lacks them; stale while the partition is restored."""

from contextlib import suppress
from typing import Final, Protocol

import msgspec

from carts.state import State, Version
from carts.view import view
from gateway.carts.problems import database_unavailable, restoring
from gateway.http.problems import Problem
from gateway.metrics import Metrics
from gateway.postgres.hydration import DatabaseUnavailable, Hydration
from gateway.resilience.deadline import Deadline, ask_until
from gateway.settings import GatewaySettings
from store.redis import Absence, CartStore, Missing, Restoring, StoredCart, StoreError, StoreFull

EMPTY_VERSION: Final = Version().tag()


class CartDocument(msgspec.Struct, frozen=True):
    """A cart as it was read: version tag and JSON. `stale`: from Postgres, Redis may know better."""

    tag: str
    body: bytes
    stale: bool = False


class Reader(Protocol):
    """Reads carts."""

    async def read(self, cart_id: str) -> CartDocument:
        """The cart as it is now. Raises Problem when that cannot be known."""
        ...


class ChangedCarts(Protocol):
    """Shows a cart that was changed."""

    async def shown(self, cart: StoredCart) -> CartDocument:
        """The cart after its change. Raises nothing: the change is made."""
        ...


class PlainCarts:
    """Without a catalogue a change is answered with the cart as it is written."""

    async def shown(self, cart: StoredCart) -> CartDocument:
        """The version and the JSON, as Redis has them."""
        return _of_stored(cart)


class CartReader:
    """What GET does, without HTTP."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: CartStore,
        hydration: Hydration,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._store = store
        self._hydration = hydration
        self._reads = metrics.reads
        self._from_redis = metrics.reads.labels("redis")

    async def read(self, cart_id: str) -> CartDocument:
        """The cart as it is now; one never written is empty. Raises Problem when that cannot be known."""
        try:
            found = await self._store.read(cart_id)
        except StoreError as error:
            if not error.retriable:
                raise
            return await Deadline(self._settings.request_deadline_s).bound(self._stale(cart_id, error))
        if isinstance(found, StoredCart):
            self._from_redis.inc()
            return _of_stored(found)
        return await Deadline(self._settings.request_deadline_s).bound(self._elsewhere(cart_id, found))

    async def _elsewhere(self, cart_id: str, found: Missing | Restoring) -> CartDocument:
        if isinstance(found, Missing):
            return await self._missing(cart_id, found)
        await self._store.request_restore(self._store.partition(cart_id))
        try:
            return await self._stale(cart_id, restoring())
        except Problem:
            # Not in Postgres: the cart may still be in Kafka only, so that the restore decides.
            settled = await ask_until(
                lambda: self._store.read(cart_id),
                lambda answer: not isinstance(answer, Restoring),
                self._settings.restore_wait_s,
            )
            if isinstance(settled, Restoring):
                raise
        return await self._missing(cart_id, settled) if isinstance(settled, Missing) else _of_stored(settled)

    async def _missing(self, cart_id: str, missing: Missing) -> CartDocument:
        """The cart out of its row, brought in. One that does not count is looked for again."""
        last = missing

        async def look() -> CartDocument | Missing | Restoring:
            nonlocal last
            answer = await self._look(cart_id, last)
            if isinstance(answer, Missing):
                last = answer
            return answer

        settled = await ask_until(
            look, lambda answer: not isinstance(answer, Missing), self._settings.restore_wait_s
        )
        if isinstance(settled, CartDocument):
            return settled
        return await self._stale(
            cart_id, restoring() if isinstance(settled, Restoring) else database_unavailable()
        )

    async def _look(self, cart_id: str, missing: Missing) -> CartDocument | Missing | Restoring:
        """One look into the row; Missing: the row did not count, or the cart has gone again."""
        if self._hydration.remembers_absence(cart_id, missing):
            self._reads.labels("nowhere").inc()
            return _of_state(cart_id, State())
        try:
            found = await self._hydration.find_missing(cart_id, missing)
        except DatabaseUnavailable:
            raise database_unavailable() from None
        state = found.state if isinstance(found.state, State) else None
        if state is not None and not state.expired:
            await self._bring_in(cart_id, state, found.absence)
        # Somebody may have brought it in and changed it meanwhile, or the partition was restored.
        now = await self._store.read(cart_id)
        if isinstance(now, StoredCart):
            self._reads.labels("nowhere" if state is None else "postgres").inc()
            return _of_stored(now)
        if isinstance(now, Restoring) or not found.counts or now.marker != missing.marker:
            return now
        if state is None:
            self._hydration.remember_absence(cart_id, missing)
        self._reads.labels("nowhere" if state is None else "postgres").inc()
        return _of_state(cart_id, state or State())

    async def _bring_in(self, cart_id: str, state: State, absence: Absence) -> None:
        """Bring the cart in where there is room. Its row says the same: reads can do without."""
        if self._store.has_room:
            with suppress(StoreFull):
                await self._store.hydrate(cart_id, state, absence)

    async def _stale(self, cart_id: str, reason: Exception) -> CartDocument:
        """Postgres's copy; raises `reason` when there is none."""
        try:
            state = await self._hydration.find(cart_id)
        except DatabaseUnavailable:
            raise reason from None
        if not isinstance(state, State):
            raise reason
        self._reads.labels("stale").inc()
        return msgspec.structs.replace(_of_state(cart_id, state), stale=True)


def _of_stored(cart: StoredCart) -> CartDocument:
    return CartDocument(cart.tag, cart.json())


def _of_state(cart_id: str, state: State) -> CartDocument:
    seen = view(cart_id, state)
    return CartDocument(seen.version, msgspec.json.encode(seen))
