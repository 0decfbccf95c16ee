"""The cart's home in Redis: key layout, Lua scripts, one pipelined client."""

from carts.protocol import PutOutcome
from store.redis.absence import Absence, Missing
from store.redis.cart_store import CartStore
from store.redis.client import PipelinedClient
from store.redis.errors import (
    ClusterUnexpected,
    StoreBroken,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnknownOutcome,
)
from store.redis.layout import Layout
from store.redis.memory import Memory, fullest
from store.redis.pending_compaction import PendingCompaction
from store.redis.rates import SharedRates
from store.redis.requests import ChangeRequest, RequestStep, SetQuantity
from store.redis.results import (
    Applied,
    ChangeOutcome,
    CheckoutLock,
    OutboxDepth,
    OutboxEntry,
    OutboxPage,
    PositionMoved,
    PutResult,
    Reason,
    Refused,
    Replayed,
    RestoreLost,
    Restoring,
    ServerFacts,
    StatesNeeded,
    WindowEntry,
)
from store.redis.settings import RedisSettings
from store.redis.stored import StoredCart
from store.redis.subscriber import ChangeListener, ChangeSubscriber
from store.redis.subtraction import Decision, RowLookup
from store.redis.tickets import Ticket, Tickets

__all__ = [
    "Absence",
    "Applied",
    "CartStore",
    "ChangeListener",
    "ChangeOutcome",
    "ChangeRequest",
    "ChangeSubscriber",
    "CheckoutLock",
    "ClusterUnexpected",
    "Decision",
    "Layout",
    "Memory",
    "Missing",
    "OutboxDepth",
    "OutboxEntry",
    "OutboxPage",
    "PendingCompaction",
    "PipelinedClient",
    "PositionMoved",
    "PutOutcome",
    "PutResult",
    "Reason",
    "RedisSettings",
    "Refused",
    "Replayed",
    "RequestStep",
    "RestoreLost",
    "Restoring",
    "RowLookup",
    "ServerFacts",
    "SetQuantity",
    "SharedRates",
    "StatesNeeded",
    "StoreBroken",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "StoredCart",
    "Ticket",
    "Tickets",
    "UnknownOutcome",
    "WindowEntry",
    "fullest",
]
