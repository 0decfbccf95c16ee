"""What the clients of one worker take together, and how much they may."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from gateway.metrics import Metrics
from gateway.server.settings import ServerSettings

FREE_BODY: Final = 16 * 1024
"""A body up to this size is never refused for others: the bound on connections bounds them, too."""
_IPV6_PREFIX: Final = 64
"""What one customer of a provider has."""

Network = IPv4Network | IPv6Network


class Full(StrEnum):
    """Why a connection is refused."""

    ALL = "all"
    """The worker has as many as it may."""
    ADDRESS = "address"
    """The client's address has."""


class Connections:
    """The open connections, by address."""

    def __init__(self, most: int, most_per_address: int, proxies: Sequence[Network]) -> None:
        self.most = most
        self._most_per_address: Final = most_per_address
        self._proxies: Final = proxies
        self.refused = 0
        """Connections without room that are open to be told so."""
        self._count = 0
        self._by_address: Final[Counter[str]] = Counter()
        self._counted: Final = lru_cache(maxsize=1024)(self._group_of)

    def enter(self, address: str) -> Full | None:
        """Count a connection from this address; the reason if there is no room for it."""
        if self._count >= self.most:
            return Full.ALL
        counted = self._counted(address)
        if counted is not None:
            if self._by_address[counted] >= self._most_per_address:
                return Full.ADDRESS
            self._by_address[counted] += 1
        self._count += 1
        return None

    def leave(self, address: str) -> None:
        """A connection that was counted has ended."""
        self._count -= 1
        counted = self._counted(address)
        if counted is not None:
            self._by_address[counted] -= 1
            if not self._by_address[counted]:
                del self._by_address[counted]

    def _group_of(self, address: str) -> str | None:
        """By what the connections of an address are counted; None for a proxy."""
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return address
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        if any(found in network for network in self._proxies):
            return None
        if isinstance(found, IPv6Address):
            return str(ip_network((found, _IPV6_PREFIX), strict=False))
        return str(found)


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


class Bounds:
    """All bounds of one worker."""

    def __init__(self, settings: ServerSettings, body_bytes: int, metrics: Metrics) -> None:
        networks = [ip_network(one.strip()) for one in settings.proxy_networks.split(",") if one.strip()]
        self.connections: Final = Connections(
            settings.connections_max, settings.connections_per_address, networks
        )
        self.bodies: Final = Bodies(settings.bodies_bytes)
        self.settings: Final = settings
        self.metrics: Final = metrics
        self.body_bytes: Final = body_bytes
