"""The cart's home in Redis: changes, reads, puts, outbox, restoration."""

from collections.abc import Sequence

from carts.limits import LIMITS, TIMING, Limits, Timing
from carts.state import State
from store.client import PipelinedClient
from store.layout import Layout
from store.requests import ChangeRequest
from store.results import (
    Applied,
    Missing,
    OutboxDepth,
    OutboxEntry,
    PositionMoved,
    PutResult,
    Refused,
    Replayed,
    Restoring,
    RestoreLost,
    ServerFacts,
)
from store.stored import StoredCart


class CartStore:
    """Everything the product does in Redis. Each method raises store.errors.StoreError when Redis does not answer."""

    def __init__(
        self,
        client: PipelinedClient,
        layout: Layout,
        limits: Limits = LIMITS,
        timing: Timing = TIMING,
        *,
        idle_limit_s: int = 7 * 86_400,
        outbox_max_bytes: int = 64 * 1024 * 1024,
        stale_before: int = 0,
    ) -> None:
        """`stale_before`: a copy whose newest version is lower counts as absent (0: none does)."""

    async def change(self, request: ChangeRequest) -> Applied | Replayed | Refused:
        """Apply one operation atomically, all checks before the first write."""
        raise NotImplementedError

    async def read(self, cart_id: str) -> StoredCart | Missing | Restoring:
        """The cart as it is now, in one round trip."""
        raise NotImplementedError

    async def hydrate(self, cart_id: str, state: State) -> bool:
        """Bring in a cart found elsewhere, an expired one too; whether it was brought in (absent and ready)."""
        raise NotImplementedError

    async def put(self, partition: int, states: Sequence[tuple[str, State]]) -> list[PutResult]:
        """Replace each cart by its state if the state covers Redis's copy and differs."""
        raise NotImplementedError

    async def outbox_read(
        self, partition: int, after_id: str = "0-0", count: int = 100, min_age_us: int = 0
    ) -> list[OutboxEntry]:
        """Entries after `after_id`, oldest first, that are at least `min_age_us` old by Redis's clock."""
        raise NotImplementedError

    async def outbox_remove(self, partition: int, entries: Sequence[tuple[str, str]]) -> int:
        """Remove entries by (id, op_id); one whose op_id differs stays. Returns how many were removed."""
        raise NotImplementedError

    async def outbox_depths(self) -> list[OutboxDepth]:
        """The depth of every partition's outbox."""
        raise NotImplementedError

    async def acquire_sweeper(self, partition: int, owner: str, ttl_ms: int) -> bool:
        """Take or prolong the lease of the partition's outbox sweeper; whether `owner` holds it now."""
        raise NotImplementedError

    async def ready_partitions(self) -> set[int]:
        """The partitions whose marker is there."""
        raise NotImplementedError

    async def wish(self, partition: int) -> None:
        """Ask for this partition to be restored first (forgotten after a minute)."""
        raise NotImplementedError

    async def wished(self) -> set[int]:
        """The partitions somebody waits for."""
        raise NotImplementedError

    async def restore_begin(self, partition: int) -> str:
        """Begin a restoration, ending any other; returns its token. The first sequence is 0."""
        raise NotImplementedError

    async def restore_put(
        self, partition: int, token: str, sequence: int, states: Sequence[tuple[str, State]]
    ) -> list[PutResult] | RestoreLost:
        """Put as in `put`, if token and sequence are the restoration's; the next call's sequence is one higher."""
        raise NotImplementedError

    async def restore_finish(
        self, partition: int, token: str, sequence: int, followed_offset: int
    ) -> RestoreLost | None:
        """Set marker and follow position, if token and sequence are the restoration's."""
        raise NotImplementedError

    async def followed(self, partition: int) -> int | None:
        """The follow position: the next offset of `carts` to follow."""
        raise NotImplementedError

    async def follow_put(
        self, partition: int, expected_position: int | None, new_position: int, states: Sequence[tuple[str, State]]
    ) -> list[PutResult] | PositionMoved:
        """Put as in `put` and move the follow position, if it is the expected one."""
        raise NotImplementedError

    async def facts(self) -> ServerFacts:
        """What the server says about itself."""
        raise NotImplementedError
