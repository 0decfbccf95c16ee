"""Whose address a request comes from, with proxies between."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

_IPV6_PREFIX: Final = 64
"""What one customer of a provider has."""
_REMEMBERED: Final = 1024
_PROXIES_AT_MOST: Final = 8
"""One behind the other."""
_FORWARDED_FOR: Final = "x-forwarded-for"

Network = IPv4Network | IPv6Network


class Addresses:
    """Tells addresses of clients from those of proxies, and takes those of one customer as one."""

    def __init__(self, proxies: Sequence[Network]) -> None:
        self._proxies: Final = proxies
        self.counted: Final = lru_cache(maxsize=_REMEMBERED)(self._counted)

    @classmethod
    def behind(cls, networks: str) -> "Addresses":
        """`networks` of proxies, between commas. Raises ValueError."""
        return cls([ip_network(one.strip()) for one in networks.split(",") if one.strip()])

    def client_of(self, peer: str, headers: Iterable[tuple[str, str]]) -> str | None:
        """Who is at the other end; None if only proxies are known.

        A proxy is believed whom it serves: the last address in X-Forwarded-For that is no proxy's.
        """
        client = self.counted(peer)
        if client is not None:
            return client
        forwarded = [part for name, value in headers if name == _FORWARDED_FOR for part in value.split(",")]
        for part in reversed(forwarded[-_PROXIES_AT_MOST:]):
            address = _without_port(part.strip())
            if _parsed(address) is None:
                return None
            client = self.counted(address)
            if client is not None:
                return client
        return None

    def _counted(self, address: str) -> str | None:
        """As what an address is counted; None for a proxy."""
        found = _parsed(address)
        if found is None:
            return address
        if any(found in network for network in self._proxies):
            return None
        if isinstance(found, IPv6Address):
            return str(ip_network((found, _IPV6_PREFIX), strict=False))
        return str(found)


def peer_of(transport: Any) -> str:
    """The address at the other end of a connection; empty if it has none."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _without_port(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
