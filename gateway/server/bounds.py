"""What the clients of one worker take together, and how much they may."""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from prometheus_client import Histogram

from gateway.http.names import Sharing
from gateway.http.problems import OVERLOADED, Problem, retry_after
from gateway.metrics import Metrics
from gateway.rates.service import Rates
from gateway.server.addresses import Addresses
from gateway.server.admission import Admission, Priority
from gateway.server.heads import Head
from gateway.server.settings import ServerSettings

FREE_BODY: Final = 16 * 1024
"""A body up to this size is never refused for others: the bound on connections bounds them, too."""


class Full(StrEnum):
    """Why a connection is refused."""

    ALL = "all"
    """The worker has as many as it may."""
    ADDRESS = "address"
    """The client's address has."""


class Connections:
    """The open connections, by address."""

    def __init__(self, most: int, most_per_address: int, addresses: Addresses) -> None:
        self.most = most
        self._most_per_address: Final = most_per_address
        self._addresses: Final = addresses
        self.refused = 0
        """Connections without room that are open to be told so."""
        self._count = 0
        self._by_address: Final[Counter[str]] = Counter()

    def enter(self, address: str) -> Full | None:
        """Count a connection from this address; the reason if there is no room for it."""
        if self._count >= self.most:
            return Full.ALL
        counted = self._addresses.counted(address)
        if counted is not None:
            if self._by_address[counted] >= self._most_per_address:
                return Full.ADDRESS
            self._by_address[counted] += 1
        self._count += 1
        return None

    def leave(self, address: str) -> None:
        """A connection that was counted has ended."""
        self._count -= 1
        counted = self._addresses.counted(address)
        if counted is not None:
            self._by_address[counted] -= 1
            if not self._by_address[counted]:
                del self._by_address[counted]


class Bodies:
    """The bytes of large bodies that are held."""

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._held = 0

    def hold(self, size: int) -> bool:
        """Whether there was room for them; if so, they are held until they are let go."""
        if self._held + size > self._most:
            return False
        self._held += size
        return True

    def let_go(self, size: int) -> None:
        """They are held no more."""
        self._held -= size


_AGAIN_S: Final = {Priority.BULK: 10, Priority.WRITE: 1, Priority.READ: 1}
_OVERLOADED: Final = {
    priority: Problem(
        OVERLOADED,
        "The gateway has more to do than it can; nothing was done. Send the request again after Retry-After, "
        "with the same Idempotency-Key if it has one.",
        headers=retry_after(seconds),
    )
    for priority, seconds in _AGAIN_S.items()
}


class Bounds:
    """All bounds of one worker."""

    def __init__(
        self,
        settings: ServerSettings,
        body_bytes: int,
        metrics: Metrics,
        admission: Admission,
        rates: Rates,
        sharing: Sharing,
        priority_of: Callable[[str, str], Priority],
    ) -> None:
        """`priority_of` takes path and method. Early answers are shared as others are."""
        self.connections: Final = Connections(
            settings.connections_max, settings.connections_per_address, rates.addresses
        )
        self.bodies: Final = Bodies(settings.bodies_bytes)
        self.settings: Final = settings
        self.metrics: Final = metrics
        self.body_bytes: Final = body_bytes
        self.admission: Final = admission
        self.rates: Final = rates
        self.sharing: Final = sharing
        self._priority_of: Final = priority_of
        # Looked up once: there are thousands a second.
        self._shed: Final = {
            priority: metrics.requests_shed.labels(priority.value) for priority in _OVERLOADED
        }
        self._times: Final[dict[tuple[str, int], Histogram]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request of this route was answered with this status after so many seconds."""
        kind = (route, status // 100)
        times = self._times.get(kind)
        if times is None:
            times = self._times[kind] = self.metrics.request_seconds.labels(route, f"{kind[1]}xx")
        times.observe(seconds)

    def overload(self, head: Head) -> Problem | None:
        """Why there is no room for the request; None: there is."""
        priority = self._priority_of(head.target.partition("?")[0], head.method)
        if self.admission.admits(priority):
            return None
        self._shed[priority].inc()
        return _OVERLOADED[priority]
