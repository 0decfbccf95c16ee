"""Change and read carts: one script, one publish, an honest word about how far it got."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
import structlog

from carts.state import State, Version
from carts.view import view
from gateway import problems
from gateway.carts.refusals import problem_of, restoring
from gateway.conditions import Durability, Preferences
from gateway.hydration import DatabaseUnavailable, Hydration
from gateway.metrics import Metrics
from gateway.problems import Problem, retry_after
from gateway.publisher import Publisher, Record
from gateway.settings import GatewaySettings
from gateway.sweeper import Sweeper
from store import (
    Applied,
    CartStore,
    ChangeRequest,
    Layout,
    Missing,
    Reason,
    Refused,
    Replayed,
    Restoring,
    StoreBroken,
    StoredCart,
    StoreError,
)
from topics.headers import Headers, change_headers
from topics.registry import CART_CHANGED

log = structlog.get_logger(__name__)

T = TypeVar("T")

_POLL_S: Final = 0.1
EMPTY_VERSION: Final = Version().tag()


class Changed(msgspec.Struct, frozen=True):
    """What a change came to: the cart's version and JSON (none if minimal), and the durability reached."""

    tag: str
    body: bytes | None
    reached: Durability
    receipt: str | None
    replayed: bool


class Read(msgspec.Struct, frozen=True):
    """A cart as it was read. `stale`: from Postgres while Redis is not authoritative."""

    tag: str
    body: bytes
    stale: bool = False


class CartService:
    """What the routes do, without HTTP."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: CartStore,
        layout: Layout,
        publisher: Publisher,
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
        self._from_redis = metrics.reads.labels("redis")
        self._reached = {level: metrics.changes.labels(level.value) for level in Durability}

    async def change(self, request: ChangeRequest, wishes: Preferences, trace: Headers) -> Changed:
        """Apply the change and publish it. Raises Problem when it is refused or falls short of a strict wish."""
        began = asyncio.get_running_loop().time()
        outcome = await self._store.change(request)
        if type(outcome) is not Applied:
            outcome = await self._settle(outcome, request, began)
        if type(outcome) is Applied and wishes.durability is Durability.KAFKA and not self._is_late(outcome):
            # The common case, without a task or a timer of its own: the publisher bounds the wait.
            offset = await self._publisher.publish(
                outcome.partition, self._record(request, outcome.v, outcome.outbox_id, outcome.event, trace)
            )
            reached = Durability.REDIS if offset is None else Durability.KAFKA
        else:
            reached, offset = await self._secure(outcome, request, wishes, trace, began)
        self._reached[reached].inc()
        self._metrics.change_seconds.observe(asyncio.get_running_loop().time() - began)
        if wishes.strict and _falls_short(reached, wishes.durability):
            raise _shortfall(reached, wishes.durability)
        return Changed(
            outcome.version.tag(),
            outcome.cart.json() if outcome.cart is not None else None,
            reached,
            None if offset is None else f"{CART_CHANGED.name}/{outcome.partition}/{offset}",
            type(outcome) is Replayed,
        )

    async def read(self, cart_id: str) -> Read:
        """The cart as it is now; a cart never written is empty. Raises Problem when that cannot be known."""
        try:
            found = await self._store.read(cart_id)
        except StoreBroken:
            raise
        except StoreError as error:
            return await self._read_stale(cart_id, error)
        if isinstance(found, StoredCart):
            self._from_redis.inc()
            return Read(found.version.tag(), found.json())
        return await self._bounded(self._read_elsewhere(cart_id, found), asyncio.get_running_loop().time())

    async def _read_elsewhere(self, cart_id: str, found: Missing | Restoring) -> Read:
        if isinstance(found, Restoring):
            await self._store.wish(self._layout.partition(cart_id))
            try:
                return await self._read_stale(cart_id, restoring())
            except Problem:
                settled = await self._until(
                    lambda: self._store.read(cart_id), lambda result: not isinstance(result, Restoring)
                )
                if isinstance(settled, Restoring):
                    raise
                found_now = settled
        else:
            found_now = found
        if isinstance(found_now, Missing):
            return await self._read_missing(cart_id)
        assert isinstance(found_now, StoredCart)
        return Read(found_now.version.tag(), found_now.json())

    async def _read_missing(self, cart_id: str) -> Read:
        state = await self._find(cart_id)
        if state is None:
            self._metrics.reads.labels("nowhere").inc()
            return _read_of(cart_id, State())
        self._metrics.reads.labels("postgres").inc()
        if not state.expired:
            await self._store.hydrate(cart_id, state)
            found = await self._store.read(cart_id)
            if isinstance(found, StoredCart):
                return Read(found.version.tag(), found.json())
        return _read_of(cart_id, state)

    async def _read_stale(self, cart_id: str, reason: Exception) -> Read:
        """Postgres's copy, marked; raises `reason` when there is none (the cart may exist all the same)."""
        try:
            state = await self._hydration.find(cart_id)
        except DatabaseUnavailable:
            raise reason from None
        if state is None:
            raise reason
        self._metrics.reads.labels("stale").inc()
        return msgspec.structs.replace(_read_of(cart_id, state), stale=True)

    async def _settle(
        self, outcome: Replayed | Refused, request: ChangeRequest, began: float
    ) -> Applied | Replayed:
        if isinstance(outcome, Refused):
            settled = await self._bounded(self._solve(outcome, request), began)
            if isinstance(settled, Refused):
                raise problem_of(settled, len(request.steps))
            outcome = settled
        if isinstance(outcome, Replayed):
            self._metrics.replays.inc()
        return outcome

    async def _solve(self, refused: Refused, request: ChangeRequest) -> Applied | Replayed | Refused:
        """Solve what is not the caller's concern: a cart that is only in Postgres, a partition being restored."""
        outcome: Applied | Replayed | Refused = refused
        if refused.reason is Reason.RESTORING:
            await self._store.wish(self._layout.partition(request.cart_id))
            outcome = await self._until(
                lambda: self._store.change(request),
                lambda result: not (isinstance(result, Refused) and result.reason is Reason.RESTORING),
            )
        if isinstance(outcome, Refused) and outcome.reason is Reason.UNKNOWN_CART:
            state = await self._find(request.cart_id)
            if state is not None:
                await self._store.hydrate(request.cart_id, state)
            return await self._store.change(msgspec.structs.replace(request, absent_ok=state is None))
        return outcome

    async def _find(self, cart_id: str) -> State | None:
        try:
            return await self._hydration.find(cart_id)
        except DatabaseUnavailable as error:
            raise Problem(
                problems.DATABASE_UNAVAILABLE,
                "The cart is not in the live store and the database did not answer; nothing was changed. "
                "Send the request again, with the same Idempotency-Key if it changes the cart.",
                headers=retry_after(1),
            ) from error

    async def _secure(
        self,
        outcome: Applied | Replayed,
        request: ChangeRequest,
        wishes: Preferences,
        trace: Headers,
        began: float,
    ) -> tuple[Durability, int | None]:
        """Bring an operation that stands in Redis as far as wished, within the deadline."""
        reached, offset = await self._to_kafka(outcome, request, wishes, trace, began)
        if reached is Durability.KAFKA and wishes.durability is Durability.POSTGRES:
            if await self._in_postgres(request, outcome.v, began):
                reached = Durability.POSTGRES
        return reached, offset

    async def _to_kafka(
        self,
        outcome: Applied | Replayed,
        request: ChangeRequest,
        wishes: Preferences,
        trace: Headers,
        began: float,
    ) -> tuple[Durability, int | None]:
        match outcome:
            case Replayed(outbox=None):
                # Entries leave the outbox only after Kafka's acknowledgement.
                return Durability.KAFKA, None
            case Replayed(outbox=outbox):
                assert outbox is not None
                outbox_id, event = outbox.outbox_id, outbox.event
            case Applied():
                outbox_id, event = outcome.outbox_id, outcome.event
        if self._is_late(outcome):
            if wishes.durability is Durability.REDIS or not self._publisher.connected:
                return Durability.REDIS, None
            offset = await self._sweeper.wait(outcome.partition, outbox_id, self._left(began))
        else:
            publishing = self._publisher.publish(
                outcome.partition, self._record(request, outcome.v, outbox_id, event, trace)
            )
            if wishes.durability is Durability.REDIS:
                return Durability.REDIS, None
            offset = await publishing
        return (Durability.REDIS, None) if offset is None else (Durability.KAFKA, offset)

    async def _in_postgres(self, request: ChangeRequest, v: int, began: float) -> bool:
        try:
            async with asyncio.timeout(self._left(began)):
                while not await self._hydration.contains(request.cart_id, v, request.op_id):
                    await asyncio.sleep(_POLL_S)
        except (TimeoutError, DatabaseUnavailable):
            return False
        return True

    def _is_late(self, outcome: Applied | Replayed) -> bool:
        return self._sweeper.is_backlog(outcome.oldest_outbox_us)

    @staticmethod
    def _record(request: ChangeRequest, v: int, outbox_id: str, event: bytes, trace: Headers) -> Record:
        headers = change_headers(request.cart_id, v, request.op_id)
        if trace:
            headers += trace
        # The script's time, not now: the broker shall refuse a publisher that was frozen in between.
        return Record(request.cart_id.encode(), event, v // 2000, headers, outbox_id, request.op_id)

    async def _until(self, ask: Callable[[], Awaitable[T]], settled: Callable[[T], bool]) -> T:
        """Ask until the answer is settled or the wait for a restore is over; the last answer."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.restore_wait_s
        while True:
            answer = await ask()
            if settled(answer) or loop.time() + _POLL_S > end:
                return answer
            await asyncio.sleep(_POLL_S)

    async def _bounded(self, work: Awaitable[T], began: float) -> T:
        try:
            async with asyncio.timeout(self._left(began)):
                return await work
        except TimeoutError:
            raise Problem(
                problems.DEADLINE_EXCEEDED,
                f"The request took longer than {self._settings.request_deadline_s:g} s; "
                "send it again, with the same Idempotency-Key if it changes the cart.",
                headers=retry_after(1),
            ) from None

    def _left(self, began: float) -> float:
        return max(0.0, began + self._settings.request_deadline_s - asyncio.get_running_loop().time())


_ORDER: Final = (Durability.REDIS, Durability.KAFKA, Durability.POSTGRES)


def _falls_short(reached: Durability, wanted: Durability) -> bool:
    return _ORDER.index(reached) < _ORDER.index(wanted)


def _shortfall(reached: Durability, wanted: Durability) -> Problem:
    return Problem(
        problems.DURABILITY_NOT_REACHED,
        f"The change is made and has durability {reached}, not {wanted}, and will get there. Sending the request again "
        "with the same Idempotency-Key never applies it twice and tells how far it is.",
        headers={**retry_after(1), "preference-applied": f"durability={reached}, handling=strict"},
    )


def _read_of(cart_id: str, state: State) -> Read:
    seen = view(cart_id, state)
    return Read(seen.version, msgspec.json.encode(seen))
