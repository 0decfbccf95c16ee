"""The cart's home in Redis: key layout, Lua scripts, one pipelined client."""

from store.cart_store import CartStore
from store.client import PipelinedClient
from store.errors import (
    StoreBroken,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnknownOutcome,
)
from store.layout import Layout
from store.requests import ChangeRequest, RequestStep, SetQuantity
from store.results import (
    Applied,
    Fence,
    Missing,
    OutboxDepth,
    OutboxEntry,
    OutboxRef,
    PositionMoved,
    PutOutcome,
    PutResult,
    Reason,
    Refused,
    Replayed,
    RestoreLost,
    Restoring,
    ServerFacts,
    WindowEntry,
)
from store.settings import PostgresSettings, RedisSettings
from store.stored import StoredCart
from store.unfolded import Unfolded

__all__ = [
    "Applied",
    "CartStore",
    "ChangeRequest",
    "Fence",
    "Layout",
    "Missing",
    "OutboxDepth",
    "OutboxEntry",
    "OutboxRef",
    "PipelinedClient",
    "PositionMoved",
    "PostgresSettings",
    "PutOutcome",
    "PutResult",
    "Reason",
    "RedisSettings",
    "Refused",
    "Replayed",
    "RequestStep",
    "RestoreLost",
    "Restoring",
    "ServerFacts",
    "SetQuantity",
    "StoreBroken",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "StoredCart",
    "Unfolded",
    "UnknownOutcome",
    "WindowEntry",
]
