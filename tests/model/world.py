"""The world of a history: clock, the two topics, the Postgres row, and what clients asked and were told."""

from collections import Counter

import msgspec

from carts import protocol
from carts.content import Content
from carts.limits import Timing
from carts.operations import Change, Delta
from carts.protocol import Deleted
from carts.state import State, Version
from tests.model.redis_mirror import Redis
from tests.model.tail import Marker
from topics.records import PurgeFloor

CART = "user:1"

TIMING = Timing(retry_horizon_us=25, publish_deadline_us=12, window_us=61, republish_margin_us=6)
"""The protocol's times, in ticks of the model: an action takes one."""

RETENTION = 420
"""How long a cart stays expired before a purge may delete it."""
STALE = 260
"""A copy or row that lay untouched this long counts as absent."""
LOG_RETENTION = 300
"""How long `cart-changed` keeps a record."""
COMPACTION_LAG = 40
"""How long `carts` keeps a record that has a successor."""
DELETE_RETENTION = 160
"""How long `carts` keeps a null."""
FROZEN_FLUSH = 100
"""How late the broker still takes a changelog record of a worker that was frozen."""
_HISTORY = 12

Shown = tuple[tuple[str, int], ...]
"""Line ids and quantities, as a reader sees them but with negative quantities."""
Seen = tuple[Version, Shown]
"""A version and the lines it names."""
CartsEntry = State | Deleted | None
"""A record of `carts`; none: compacted away."""


class Traits(msgspec.Struct, frozen=True):
    """What a kind of schedule contains, for the few checks that depend on it."""

    skewed: bool = False
    """Redis's clock may fall behind at a failover: versions may repeat."""
    evicts: bool = False
    """Redis may drop a cart: the Postgres row serves in its place."""
    heals: bool = False
    """Anti-entropy runs until nothing is left to heal."""
    skips: bool = False
    """The consumer of compaction may lose a record, as a bug would."""
    merges: str = ""
    """By which strategy guests' carts are merged into a user's, empty: there is one cart."""
    pairs: str = "gu hu"
    """Which carts are merged into which."""
    deletes: bool = False
    """Carts are purged."""
    erases: bool = False
    """Carts are erased: what they held up to then is no promise any more."""


class Asked(msgspec.Struct, frozen=True):
    """What a client asked: its change and when it first did."""

    delta: Delta
    at: int


class World:
    """Everything that is not a process. Processes (see the other files) read and write it."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.unit = 1
        """What the first operation adds; each further one adds four times as much."""
        self.now = 10
        self.skew = 0
        self.redis = Redis(marker=Marker("t0"))
        self.redis_history = [self.redis]
        self.redis_backup: Redis | None = None
        self.redis_fell_back = False
        """Since the marker was set: it may show something older for a while."""
        self.restored_to: dict[str, int] = {"t0": 0}
        """Of each restoration the end of `cart-changed` that it has read."""
        self.outbox_was_lost = False
        self.cart_was_evicted = False
        self.parts_were_ordered = False
        """Whether an order may have bought some pieces of an operation and left others."""
        self.log: list[Change] = []
        self.log_times: list[int] = []
        self.log_start = 0
        self.carts: list[CartsEntry] = []
        self.carts_times: list[int] = []
        self.purge_floor = 0
        """The highest record of `purge-floors`."""
        self.row: State | None = None
        self.rows_position = 0
        """How far the rows are in `carts`, written in their transaction."""
        self.rows_history: list[tuple[State | None, int]] = [(None, 0)]
        self.rows_fell_back = False
        self.minted_at = self.now
        """When the cart got its id."""
        self.asked: dict[str, Asked] = {}
        self.applied: set[str] = set()
        """What Redis has taken: acknowledged with `redis` at least, where a client asked for no more."""
        self.acknowledged: dict[str, int | None] = {}
        self.named: dict[Version, Shown] = {}
        self.problems: list[str] = []
        self.falls: list[str] = []
        self.exercised: Counter[str] = Counter()

    @property
    def redis_time(self) -> int:
        """The clock of the Redis server."""
        return self.now + self.skew

    def commit(self, redis: Redis) -> None:
        """Redis has done something; older contents stay around for failovers."""
        self.redis = redis
        self.redis_history = [*self.redis_history[1 - _HISTORY :], redis]

    def write_rows(self, row: State | None, position: int) -> None:
        """Postgres has committed a transaction; older contents stay around for who puts them back."""
        self.row = row
        self.rows_position = max(position, self.rows_position)
        self.rows_history = [*self.rows_history[1 - _HISTORY :], (self.row, self.rows_position)]

    def publish(self, change: Change) -> None:
        """Append to `cart-changed`."""
        self.log.append(change)
        self.log_times.append(self.now)

    def emit(self, entry: State | Deleted | PurgeFloor) -> None:
        """Append to `carts`; a floor to `purge-floors`, of which everybody takes the highest."""
        if isinstance(entry, PurgeFloor):
            self.purge_floor = max(self.purge_floor, entry.purge_floor)
        else:
            self.carts.append(entry)
            self.carts_times.append(self.now)

    def last_record(self) -> State | Deleted | None:
        """The last record of the cart in `carts`."""
        return next((entry for entry in reversed(self.carts) if isinstance(entry, State | Deleted)), None)

    def last_state(self) -> State | None:
        """The last record of the cart in `carts`, none after a deletion."""
        record = self.last_record()
        return record if isinstance(record, State) else None

    def hydration_row(self) -> State | None:
        """The Postgres row as a gateway takes it: none if it lay untouched for too long."""
        row = self.row
        return None if row is None or protocol.too_stale(row.version_number, self.now, STALE) else row

    def acknowledge(self, op_id: str, v: int | None) -> None:
        """Tell the client that its change is in Kafka; `v` is its version where the reply names one."""
        self.acknowledged.setdefault(op_id, v)
        if not any(change.op_id == op_id for change in self.log):
            self.problem(f"reply says kafka for {op_id} which is in no record")

    def names(self, version: Version, lines: Shown) -> None:
        """Somebody has seen `version` with these lines; a version names one content."""
        if not self.traits.skewed and self.named.setdefault(version, lines) != lines:
            self.problem(f"version {version.tag()} names two contents")

    def problem(self, text: str) -> None:
        """Note that a promise is broken."""
        self.problems.append(text)


def lines_of(state: State) -> Shown:
    """The lines of a state, negative quantities included."""
    return quantities(state.content())


def quantities(content: Content) -> Shown:
    """Line ids and quantities that are not zero."""
    return tuple(sorted((line_id, line.quantity) for line_id, line in content.lines.items() if line.quantity))


def seen(state: State | None) -> Seen | None:
    """What a reader gets: nothing of an expired cart."""
    return None if state is None or state.expired else (state.version, lines_of(state))


def contains(state: State, v: int, op_id: str) -> bool:
    """Whether the state has the operation in its window, in its base or among its orders."""
    attempts = [op.version for op in state.ops if op.op_id == op_id]
    return v <= state.floor or (max(attempts) >= v if attempts else state.remembers(op_id))
