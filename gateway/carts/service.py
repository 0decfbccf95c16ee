"""Change carts: one script, one publish, an honest word about how far the change got."""

import asyncio
from typing import Final

import msgspec

from carts.protocol import Durability, durability_at_once, publish_allowed
from carts.state import State
from gateway.carts.problems import problem_of
from gateway.carts.reading import database_unavailable
from gateway.http import problems
from gateway.http.conditions import Preferences
from gateway.http.problems import Problem, retry_after
from gateway.metrics import Metrics
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.records import record_of
from gateway.outbox.sweeper import Sweeper
from gateway.postgres.hydration import DatabaseUnavailable, Hydration
from gateway.resilience.deadline import POLL_S, Deadline, ask_until
from gateway.settings import GatewaySettings
from store.redis import Applied, CartStore, ChangeRequest, Layout, OutboxEntry, Reason, Refused, Replayed
from topics.headers import Headers
from topics.registry import CART_CHANGED

Outcome = Applied | Replayed | Refused

_LADDER: Final = (Durability.REDIS, Durability.KAFKA, Durability.POSTGRES)


class Wanted(msgspec.Struct, frozen=True):
    """A change as a route wants it; `trace` are further headers of its Kafka record."""

    request: ChangeRequest
    wishes: Preferences
    trace: Headers


class Changed(msgspec.Struct, frozen=True):
    """What a change came to: the cart's version tag and JSON (none if minimal), and how durable it is."""

    tag: str
    body: bytes | None
    reached: Durability
    receipt: str | None
    replayed: bool


class CartChanger:
    """What the changing routes do, without HTTP."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: CartStore,
        layout: Layout,
        publisher: ChangePublisher,
        sweeper: Sweeper,
        hydration: Hydration,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._store = store
        self._layout = layout
        self._publisher = publisher
        self._sweeper = sweeper
        self._hydration = hydration
        self._metrics = metrics
        self._reached = {level: metrics.changes.labels(level.value) for level in Durability}

    async def change(self, wanted: Wanted) -> Changed:
        """Apply the change and publish it. Raises Problem when refused, or short of a strict wish."""
        deadline = Deadline(self._settings.request_deadline_s)
        outcome = await self._store.change(wanted.request)
        # The common case has no task and no timer of its own: store and publisher bound their waits.
        applied = (
            outcome
            if isinstance(outcome, Applied)
            else await deadline.bound(self._settle(outcome, wanted.request))
        )
        reached, offset = await self._secure(applied, wanted, deadline)
        self._reached[reached].inc()
        self._metrics.change_seconds.observe(asyncio.get_running_loop().time() - deadline.began)
        if wanted.wishes.strict and _LADDER.index(reached) < _LADDER.index(wanted.wishes.durability):
            raise _shortfall(reached, wanted.wishes.durability)
        return Changed(
            applied.version.tag(),
            None if applied.cart is None else applied.cart.json(),
            reached,
            None if offset is None else f"{CART_CHANGED.name}/{applied.partition}/{offset}",
            isinstance(applied, Replayed),
        )

    async def _settle(self, outcome: Replayed | Refused, request: ChangeRequest) -> Applied | Replayed:
        """Solve what is no concern of the caller's; raises the problem of what is."""
        settled: Outcome = outcome
        if _is_refused(settled, Reason.RESTORING):
            await self._store.wish(self._layout.partition(request.cart_id))
            settled = await ask_until(
                lambda: self._store.change(request),
                lambda answer: not _is_refused(answer, Reason.RESTORING),
                self._settings.restore_wait_s,
            )
        if _is_refused(settled, Reason.UNKNOWN_CART):
            settled = await self._change_unknown(request)
        if isinstance(settled, Refused):
            raise problem_of(settled, len(request.steps))
        if isinstance(settled, Replayed):
            self._metrics.replays.inc()
        return settled

    async def _change_unknown(self, request: ChangeRequest) -> Outcome:
        """A cart that Redis lacks: never from nothing only because a copy has timed out."""
        try:
            found = await self._hydration.find(request.cart_id)
        except DatabaseUnavailable:
            raise database_unavailable() from None
        if isinstance(found, State):
            await self._store.hydrate(request.cart_id, found)
            return await self._store.change(request)
        forgotten_version = 0 if found is None else found.version_number
        return await self._store.change(
            msgspec.structs.replace(request, absent_ok=True, forgotten_version=forgotten_version)
        )

    async def _secure(
        self, applied: Applied | Replayed, wanted: Wanted, deadline: Deadline
    ) -> tuple[Durability, int | None]:
        """Bring an operation that stands in Redis as far as wished; how far it got, and its offset."""
        entry = applied.entry
        reached, offset = durability_at_once(in_outbox=entry is not None), None
        if entry is not None:
            offset = await self._publish(applied, entry, wanted, deadline)
            if offset is not None:
                reached = Durability.KAFKA
        if (
            wanted.wishes.durability is Durability.POSTGRES
            and reached is Durability.KAFKA
            and await self._in_postgres(wanted.request, applied.operation_version, deadline)
        ):
            reached = Durability.POSTGRES
        return reached, offset

    async def _publish(
        self, applied: Applied | Replayed, entry: OutboxEntry, wanted: Wanted, deadline: Deadline
    ) -> int | None:
        waits = wanted.wishes.durability is not Durability.REDIS
        if not publish_allowed(applied.oldest_outbox_us):
            # Nothing overtakes an entry that old: the sweeper publishes this one in its turn.
            if not waits or not self._publisher.connected:
                return None
            return await self._sweeper.wait(applied.partition, entry.id, deadline.left())
        publishing = self._publisher.publish(
            applied.partition,
            record_of(entry, trace=wanted.trace),
        )
        if not waits:
            return None
        left = deadline.left()
        if left >= self._settings.publish_wait_s:
            return await publishing
        return await _within(publishing, left)

    async def _in_postgres(self, request: ChangeRequest, version: int, deadline: Deadline) -> bool:
        try:
            return await ask_until(
                lambda: self._hydration.contains(request.cart_id, request.op_id, version),
                bool,
                deadline.left() - POLL_S,
            )
        except DatabaseUnavailable:
            return False


async def _within(publishing: "asyncio.Future[int | None]", seconds: float) -> int | None:
    await asyncio.wait([publishing], timeout=seconds)
    return publishing.result() if publishing.done() else None


def _is_refused(outcome: Outcome, reason: Reason) -> bool:
    return isinstance(outcome, Refused) and outcome.reason is reason


def _shortfall(reached: Durability, wanted: Durability) -> Problem:
    return Problem(
        problems.DURABILITY_NOT_REACHED,
        f"The change is made and has durability {reached}, not {wanted}; it will get there. "
        "Sending it again with the same Idempotency-Key never applies it twice and tells how far it is.",
        headers={**retry_after(1), "preference-applied": f"durability={reached}, handling=strict"},
    )
