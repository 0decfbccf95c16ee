"""Change carts: price the steps, run one script in Redis, publish the change, report its durability."""

import asyncio
from typing import Final, Protocol

import msgspec

from carts.protocol import Durability, durability_at_once, publish_allowed
from carts.state import State
from gateway.carts.commands import ChangeCommand
from gateway.carts.problems import database_unavailable, durability_not_reached, problem_of
from gateway.http.problems import Problem
from gateway.metrics import Metrics
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.records import record_of
from gateway.outbox.sweeper import Sweeper
from gateway.postgres.hydration import DatabaseUnavailable, Hydration
from gateway.resilience.deadline import POLL_S, Deadline, ask_until
from gateway.settings import GatewaySettings
from store.redis import (
    Applied,
    CartStore,
    ChangeOutcome,
    ChangeRequest,
    Missing,
    OutboxEntry,
    Reason,
    Refused,
    Replayed,
    RequestStep,
)
from topics.registry import CART_CHANGED

_LADDER: Final = (Durability.REDIS, Durability.KAFKA, Durability.POSTGRES)


class Prices(Protocol):
    """Prices the steps of a command."""

    async def price(self, command: ChangeCommand) -> tuple[RequestStep, ...] | Problem:
        """The steps with their prices, or the problem that keeps them from being applied now."""
        ...


class Changed(msgspec.Struct, frozen=True):
    """A change that is made: what the store says of it, its durability, the offset of its record if known."""

    outcome: Applied | Replayed
    durability: Durability
    offset: int | None

    @property
    def receipt(self) -> str | None:
        """Where the record stands: topic, partition and offset."""
        if self.offset is None:
            return None
        return f"{CART_CHANGED.name}/{self.outcome.partition}/{self.offset}"


class CartService:
    """What the changing routes do, without HTTP."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: CartStore,
        prices: Prices,
        publisher: ChangePublisher,
        sweeper: Sweeper,
        hydration: Hydration,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._store = store
        self._prices = prices
        self._publisher = publisher
        self._sweeper = sweeper
        self._hydration = hydration
        self._metrics = metrics
        self._reached = {level: metrics.changes.labels(level.value) for level in Durability}

    async def change(self, command: ChangeCommand) -> Changed:
        """Apply the change and publish it.

        Raises Problem when the change is refused, or when a strict preference for durability is not reached.
        """
        deadline = Deadline(self._settings.request_deadline_s)
        steps = await self._prices.price(command)
        if not isinstance(steps, Problem):
            request = command.request(steps)
        elif command.may_be_retry:
            # A change that an earlier attempt has applied stays applied, whatever the catalogue says now.
            request = command.request((), replay_only=True)
        else:
            raise steps
        outcome = await self._store.change(request)
        if not isinstance(outcome, Applied):
            # The common case has no task and no timer of its own: store and publisher bound their waits.
            outcome = await deadline.bound(self._settle(outcome, request))
        if isinstance(outcome, Refused):
            if isinstance(steps, Problem) and outcome.reason is Reason.NOT_APPLIED:
                raise steps
            raise problem_of(outcome, command.pointer)
        durability, offset = await self._secure(outcome, command, deadline)
        self._reached[durability].inc()
        self._metrics.change_seconds.observe(deadline.passed())
        preferred = command.preferences
        if preferred.strict and _LADDER.index(durability) < _LADDER.index(preferred.durability):
            raise durability_not_reached(durability, preferred.durability)
        return Changed(outcome, durability, offset)

    async def _settle(self, outcome: Replayed | Refused, request: ChangeRequest) -> ChangeOutcome:
        """The outcome once the partition is restored and the cart is looked up where Redis lacks it."""
        settled: ChangeOutcome = outcome
        if _is_refused(settled, Reason.RESTORING):
            await self._store.request_restore(self._store.partition(request.cart_id))
            settled = await ask_until(
                lambda: self._store.change(request),
                lambda answer: not _is_refused(answer, Reason.RESTORING),
                self._settings.restore_wait_s,
            )
        if isinstance(settled, Refused) and settled.missing is not None:
            settled = await self._change_missing(request, settled.missing)
        if isinstance(settled, Replayed):
            self._metrics.change_replays.inc()
        return settled

    async def _change_missing(self, request: ChangeRequest, missing: Missing) -> ChangeOutcome:
        """Change a cart that Redis lacks: only where Postgres has no row of it either, it begins empty."""
        last = missing

        async def change() -> ChangeOutcome:
            nonlocal last
            outcome = await self._change_found(request, last)
            if isinstance(outcome, Refused) and outcome.missing is not None:
                last = outcome.missing
            return outcome

        # What was found does not count if the partition was restored meanwhile, or is ahead of the rows.
        outcome = await ask_until(
            change, lambda answer: not _is_refused(answer, Reason.UNKNOWN_CART), self._settings.restore_wait_s
        )
        if _is_refused(outcome, Reason.UNKNOWN_CART):
            raise database_unavailable()
        return outcome

    async def _change_found(self, request: ChangeRequest, missing: Missing) -> ChangeOutcome:
        try:
            found = await self._hydration.find_missing(request.cart_id, missing)
        except DatabaseUnavailable:
            raise database_unavailable() from None
        if isinstance(found.state, State):
            await self._store.hydrate(
                request.cart_id, found.state, found.absence, takes_away=request.takes_away
            )
            return await self._store.change(request)
        forgotten_version = 0 if found.state is None else found.state.version_number
        return await self._store.change(
            msgspec.structs.replace(request, absence=found.absence, forgotten_version=forgotten_version)
        )

    async def _secure(
        self, outcome: Applied | Replayed, command: ChangeCommand, deadline: Deadline
    ) -> tuple[Durability, int | None]:
        """Bring the operation as far as preferred; how far it got, and the offset of its record if known."""
        entry = outcome.entry
        reached, offset = durability_at_once(in_outbox=entry is not None), None
        if entry is not None:
            offset = await self._publish(outcome, entry, command, deadline)
            if offset is not None:
                reached = Durability.KAFKA
        if (
            command.preferences.durability is Durability.POSTGRES
            and reached is Durability.KAFKA
            and await self._in_postgres(command, outcome.operation_version, deadline)
        ):
            reached = Durability.POSTGRES
        return reached, offset

    async def _publish(
        self, outcome: Applied | Replayed, entry: OutboxEntry, command: ChangeCommand, deadline: Deadline
    ) -> int | None:
        waits = command.preferences.durability is not Durability.REDIS
        if not publish_allowed(outcome.oldest_outbox_us):
            # Nothing overtakes an entry that old: the sweeper publishes this one in its turn.
            if not waits or not self._publisher.connected:
                return None
            return await self._sweeper.wait(outcome.partition, entry, deadline.left())
        publishing = self._publisher.publish(outcome.partition, record_of(entry, trace=command.trace))
        if not waits:
            return None
        left = deadline.left()
        if left >= self._settings.publish_wait_s:
            return await publishing
        return await _within(publishing, left)

    async def _in_postgres(self, command: ChangeCommand, version: int, deadline: Deadline) -> bool:
        try:
            return await ask_until(
                lambda: self._hydration.contains(command.cart_id, command.op_id, version),
                bool,
                deadline.left() - POLL_S,
            )
        except DatabaseUnavailable:
            return False


async def _within(publishing: "asyncio.Future[int | None]", seconds: float) -> int | None:
    await asyncio.wait([publishing], timeout=seconds)
    return publishing.result() if publishing.done() else None


def _is_refused(outcome: ChangeOutcome, reason: Reason) -> bool:
    return isinstance(outcome, Refused) and outcome.reason is reason
