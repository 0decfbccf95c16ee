"""What can go wrong between the product and Redis: can a retry help, and may it have happened after all."""

from typing import ClassVar, Final

from runtime.failstop import Misconfigured


class StoreError(Exception):
    """Redis did not do what was asked."""

    retriable: ClassVar[bool] = False
    """Whether the same request may succeed a moment later."""

    outcome_known: ClassVar[bool] = True
    """Whether it is certain that nothing was changed."""


class StoreUnavailable(StoreError):
    """Redis cannot be reached, is loading, or is a replica. Nothing was changed: try again shortly."""

    retriable = True


class StoreBusy(StoreUnavailable):
    """Too many requests are under way on this connection. Nothing was changed: try again shortly."""


class StoreFull(StoreUnavailable):
    """Redis has no memory for what takes more (noeviction). Nothing was changed; reads and removals go on."""


class UnknownOutcome(StoreError):
    """The connection broke, or the reply did not come in time: unknown outcome.

    The request may have been carried out. Asking again with the same operation id is safe.
    """

    retriable = True
    outcome_known = False


class ScriptMissing(StoreError):
    """The server has forgotten a script (NOSCRIPT); the client loads it and asks again."""

    retriable = True


class StoreBroken(StoreError):
    """Redis answered what no retry mends: a key of a wrong type, a failing script, no rights."""

    outcome_known = False


class PartitionClosed(StoreUnavailable):
    """Its carts are being moved to another number of partitions, or have been. Nothing was changed."""


class NotPrimary(StoreUnavailable):
    """The server is a replica now; the client connects again. Nothing was changed: try again shortly."""


class NotHere(StoreUnavailable):
    """The server belongs to a cluster and does not have the key. Nothing was changed."""


class TryAgain(StoreUnavailable):
    """A slot moves just now, or a failed server has no successor yet. Nothing was changed."""


class ServerLeft(StoreUnavailable):
    """The request was not sent: the server has no slots any more. Nothing was changed."""


class ClusterUnexpected(StoreError, Misconfigured):
    """The server belongs to a Redis Cluster, or to none, and CARTSTREAM_REDIS_URL says otherwise."""


_BY_CODE: Final[dict[str, type[StoreError]]] = {
    "NOSCRIPT": ScriptMissing,
    "OOM": StoreFull,
    "READONLY": NotPrimary,
    "MOVED": NotHere,
    "ASK": NotHere,
    "CROSSSLOT": NotHere,
    "LOADING": StoreUnavailable,
    "BUSY": StoreUnavailable,
    "MASTERDOWN": StoreUnavailable,
    "NOREPLICAS": StoreUnavailable,
    "MISCONF": StoreUnavailable,
    "CLUSTERDOWN": TryAgain,
    "TRYAGAIN": TryAgain,
    "EXECABORT": StoreUnavailable,
}


def error_of(reply: str) -> StoreError:
    """The error that an error reply stands for, by its code: the first word."""
    code, _, _ = reply.partition(" ")
    return _BY_CODE.get(code, StoreBroken)(reply)
