"""What orders and merges do to carts in Redis: read the window, decide here, swap if nothing has moved."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from carts import ordering, protocol
from carts.lifetime import Lifetime
from carts.limits import Limits, Timing
from carts.operations import Change, Delta, Operation
from carts.protocol import CartRow
from carts.state import State, window_of
from store.redis import answers, scripts
from store.redis.absence import Absence, Missing
from store.redis.client import PipelinedClient
from store.redis.errors import StoreFull
from store.redis.layout import CartKeys, Layout
from store.redis.packing import pack_absence, pack_copy, unpack_entry, unpack_extras, unpack_head
from store.redis.results import (
    Applied,
    ChangeOutcome,
    OutboxEntry,
    Reason,
    Refused,
    Replayed,
    Restoring,
    WindowEntry,
)
from store.redis.stored import StoredCart

_JSON: Final = msgspec.json.Encoder()
_ATTEMPTS: Final = 8
"""How often the cart may move under an operation before it gives up."""
_FRESH_US: Final = 1_000_000
"""How old a reading may be: the v that is taken from it must not lie far behind the clock."""
_PAGE: Final = 200


class RowLookup(Protocol):
    """Looks into the rows of carts."""

    async def look_up(self, cart_id: str) -> CartRow | None:
        """What there is now; None if that cannot be known."""
        ...


Hydrate = Callable[[str, State, Absence], Awaitable[bool]]


class Window(msgspec.Struct, frozen=True):
    """A cart with its window as Redis had it: the packed head, the state without its base.

    `missing` says under which marker that was, and when. `outbox_ids` are those of the entries that this copy
    has put into the outbox. A copy that is too old to count is left out; `forgotten_version` is its version.
    """

    missing: Missing
    head: bytes
    copy: State | None
    outbox_ids: dict[tuple[int, str], str]
    forgotten_version: int = 0
    absence: Absence | None = None
    """Without a copy: what was found of it in the rows."""

    @property
    def now_us(self) -> int:
        """When it was read, by Redis's clock."""
        return self.missing.time_us


class Decision(msgspec.Struct, frozen=True):
    """An operation that was decided on the folded cart, and under which id.

    `forgotten_version` is the version of a folded cart that is too old to count.
    """

    op_id: str
    delta: Delta
    forgotten_version: int = 0
    cause: str | None = None


class Subtractor:
    """Takes orders out of carts, and carries guests' lines over."""

    def __init__(
        self,
        client: PipelinedClient,
        layout: Layout,
        limits: Limits,
        timing: Timing,
        lifetime: Lifetime,
        hydrate: Hydrate,
        rows: RowLookup | None,
    ) -> None:
        self._hydrate: Final = hydrate
        self._rows: Final = rows
        self._client: Final = client
        self._layout: Final = layout
        self._limits: Final = limits
        self._timing: Final = timing
        self._lifetime: Final = lifetime

    async def apply(
        self, cart_id: str, decision: Decision, folded: State | None, outbox_max_bytes: int
    ) -> ChangeOutcome:
        """See store.redis.cart_store.CartStore.subtract and merge."""
        keys = self._layout.of_cart(cart_id)
        for _ in range(_ATTEMPTS):
            window = await self._read(cart_id, keys)
            if isinstance(window, Refused):
                return window
            if not ordering.may_subtract(folded, decision.delta) or self._forgotten(
                cart_id, folded, window.now_us
            ):
                return Refused(reason=Reason.NO_RECORD)
            if window.copy is None:
                looked = await self._look_up(cart_id, window)
                if looked is None:
                    continue
                if isinstance(looked, Refused):
                    return looked
                window = looked
            if not ordering.may_unite(folded or State(), window.copy):
                return Refused(reason=Reason.NO_RECORD)
            answer = await self._try(cart_id, decision, folded or State(), window, outbox_max_bytes)
            if answer != Refused(reason=Reason.MOVED):
                return answer
        return Refused(reason=Reason.MOVED)

    async def window(self, cart_id: str) -> list[WindowEntry] | Missing | Restoring:
        """See store.redis.cart_store.CartStore.window."""
        window = await self._read(cart_id, self._layout.of_cart(cart_id))
        if isinstance(window, Refused):
            return Restoring()
        if window.copy is None:
            return window.missing
        ids = window.outbox_ids
        return [WindowEntry(*entry, ids.get(entry)) for entry in window_of(window.copy)]

    async def _look_up(self, cart_id: str, window: Window) -> Window | Refused | None:
        """Bring in a cart that Redis lacks (None: read it again); the absence, if it has no row either."""
        row = await self._rows.look_up(cart_id) if self._rows is not None else None
        if row is None:
            return Refused(reason=Reason.ROW_UNKNOWN)
        if not window.missing.is_met_by(row):
            return Refused(reason=Reason.ROW_UNKNOWN)
        absence = window.missing.found(row)
        if row.state is not None and not self._forgotten(cart_id, row.state, window.now_us):
            try:
                await self._hydrate(cart_id, row.state, absence)
            except StoreFull:
                return Refused(reason=Reason.STORAGE_FULL)
            return None
        return msgspec.structs.replace(window, absence=absence)

    async def _read(self, cart_id: str, keys: CartKeys) -> Window | Refused:
        shared = self._layout.of_partition(keys.partition)
        reply = await self._client.run(scripts.READ_WITH_WINDOW, (keys.cart, keys.ops, shared.ready), ())
        if reply[0] == b"restoring":
            return Refused(reason=Reason.RESTORING)
        _, time, marker, head, extras, entries = reply
        missing = answers.missing(marker, answers.microseconds(time))
        if isinstance(missing, Restoring):
            return Refused(reason=Reason.RESTORING)
        if head is None:
            return Window(missing, b"", None, {})
        ops = [unpack_entry(entry) for entry in entries[1::2]]
        known, numbers = unpack_extras(extras), unpack_head(head)
        copy = msgspec.structs.replace(
            known,
            ops=tuple(sorted((op for op, _ in ops), key=lambda op: (op.version, op.op_id))),
            floor=numbers.floor,
            trimmed=numbers.operation_count - len(ops),
            born=numbers.born,
        )
        waiting = {(op.version, op.op_id): outbox_id for op, outbox_id in ops if outbox_id}
        if self._forgotten(cart_id, copy, missing.time_us):
            return Window(missing, head, None, {}, copy.version_number)
        return Window(missing, head, copy, waiting)

    def _forgotten(self, cart_id: str, state: State | None, now_us: int) -> bool:
        if state is None or not state.version_number:
            return False  # a cart that was never written is not too old
        return self._lifetime.forgotten(cart_id, state.version_number, now_us, expired=state.expired)

    async def _try(
        self,
        cart_id: str,
        decision: Decision,
        folded: State,
        window: Window,
        outbox_max_bytes: int,
    ) -> ChangeOutcome:
        base = ordering.subtraction_base(folded, window.copy)
        if ordering.is_applied(base, decision.op_id, decision.delta):
            return await self._replayed(cart_id, decision, folded, base, window)
        v = protocol.next_version(base.version_number, window.now_us)
        delta = ordering.renewed(decision.delta, base, v, ordering.leaving(base, v, self._timing))
        operation = Operation(v, decision.op_id, "", delta)
        state = ordering.subtracted(base, operation, self._timing)
        limits = self._limits
        if self._size(state) > limits.window_bytes + limits.ordered_bytes + limits.subtraction_bytes:
            room_at = state.ops[0].version // 2 + self._timing.window_us
            return Refused(reason=Reason.WINDOW_FULL, retry_after_us=max(0, room_at - window.now_us))
        change = Change(
            cart_id=cart_id,
            version=operation.version,
            op_id=decision.op_id,
            delta=delta,
            # What is too old to count is known of all the same: an expiry of that cart stands.
            previous_version=base.version_number or max(window.forgotten_version, decision.forgotten_version),
            born=state.born,
            cause=decision.cause,
        )
        return await self._swap(change, state, window, outbox_max_bytes)

    async def _swap(
        self, change: Change, state: State, window: Window, outbox_max_bytes: int
    ) -> Applied | Refused:
        keys = self._layout.of_cart(change.cart_id)
        shared = self._layout.of_partition(keys.partition)
        names = (
            *(keys.cart, keys.ops, keys.win, shared.outbox, shared.backlog, shared.ready),
            *(shared.events, shared.pending_compaction),
        )
        event = _JSON.encode(change)
        arguments = (
            change.op_id,
            change.cart_id,
            window.head,
            window.now_us + _FRESH_US,
            pack_copy(change.cart_id, state, window.outbox_ids),
            event,
            outbox_max_bytes,
            self._lifetime.idle_limit_s(change.cart_id),
            b"" if window.absence is None else pack_absence(window.absence, self._timing),
        )
        reply = await self._client.run(scripts.SUBTRACT, names, arguments)
        if reply[0] == b"refused":
            return answers.refused(reply)
        _, outbox_id, oldest, fields = reply
        return Applied(
            partition=keys.partition,
            operation_version=change.version,
            version=state.version,
            entry=OutboxEntry(outbox_id.decode(), change.op_id, change.cart_id, event, change.version),
            oldest_outbox_us=oldest,
            cart=StoredCart(change.cart_id, fields),
        )

    async def _replayed(
        self, cart_id: str, decision: Decision, folded: State, base: State, window: Window
    ) -> Replayed:
        keys = self._layout.of_cart(cart_id)
        shared = self._layout.of_partition(keys.partition)
        entry = None
        if not ordering.is_applied(folded, decision.op_id, decision.delta):
            entry = await self._waiting(shared.outbox, cart_id, decision.op_id)
        backlog, fields = await self._client.execute_all(((b"GET", shared.backlog), (b"HGETALL", keys.cart)))
        cart = StoredCart(cart_id, fields) if fields else None
        return Replayed(
            partition=keys.partition,
            operation_version=max(
                (op.version for op in base.ops if op.op_id == decision.op_id),
                default=base.version_number,
            ),
            version=base.version if cart is None else cart.version,
            entry=entry,
            oldest_outbox_us=answers.outbox_depth(keys.partition, 0, backlog, window.now_us).oldest_us,
            cart=cart,
        )

    async def _waiting(self, outbox: bytes, cart_id: str, op_id: str) -> OutboxEntry | None:
        """The operation's entry in the outbox. Its id may be lost with the window; then it is looked for."""
        after = b"-"
        while page := await self._client.execute(b"XRANGE", outbox, after, b"+", b"COUNT", _PAGE):
            for reply in page:
                entry = answers.outbox_entry(reply)
                if (entry.op_id, entry.cart_id) == (op_id, cart_id):
                    return entry
            after = b"(" + page[-1][0]
        return None

    @staticmethod
    def _size(state: State) -> int:
        return sum(len(_JSON.encode(op)) for op in state.ops)
