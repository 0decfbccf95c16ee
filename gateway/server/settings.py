"""Settings of the HTTP server, each `CARTSTREAM_<NAME>`: what a client may take, and all of them together."""

from ipaddress import ip_network
from typing import Final

from pydantic import Field, field_validator

from runtime.settings import Settings

_PRIVATE: Final = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1/128,fc00::/7"


class ServerSettings(Settings):
    """Bounds of one gateway worker. Times in seconds, sizes in bytes."""

    connections_max: int = Field(
        10_000,
        ge=10,
        le=1_000_000,
        examples=[10000],
        description="open connections of one worker; more get 503. Above `CARTSTREAM_LIVE_STREAMS_MAX`, "
        "for each stream is one. The limit of open files is raised for them; where it cannot "
        "be, the log says so (`gateway.too_few_descriptors`) and fewer are taken",
    )
    connections_per_address: int = Field(
        256,
        ge=1,
        le=1_000_000,
        examples=[256],
        description="of those, from one IPv4 address or one IPv6 network /64",
    )
    proxy_networks: str = Field(
        _PRIVATE,
        examples=["10.0.0.0/8,127.0.0.0/8"],
        description="networks of proxies, between commas. The bound of an address does not count for "
        "them, for proxies bring many clients; and they are believed in `X-Forwarded-For` "
        "whom they serve. Empty: there is no proxy",
    )
    keep_alive_s: float = Field(
        120.0,
        gt=0,
        le=3600,
        examples=[120],
        description="a connection without a request for this long is closed; longer than proxies keep theirs",
    )
    head_wait_s: float = Field(
        10.0,
        gt=0,
        le=60,
        examples=[10],
        description="how long a client may let the gateway wait for first line and headers, in all; then 408",
    )
    body_wait_s: float = Field(
        10.0,
        gt=0,
        le=20,
        examples=[10],
        description="the same for the body, in one piece and in all; the time in all grows with what has "
        "come",
    )
    body_bytes_per_s: int = Field(
        1024, ge=1, le=1_000_000_000, examples=[1024], description="how much of a body earns a second more"
    )
    bodies_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        examples=[67108864],
        description="bodies of more than 16 KiB that one worker holds at once; beyond it they get 503",
    )

    shed_delay_s: float = Field(
        0.003,
        gt=0,
        le=1,
        examples=[0.003],
        description="how long requests may queue for event loop and Redis; beyond it some are [turned "
        "away](http-api.md#too-much-load)",
    )
    shed_in_flight: int = Field(
        256,
        ge=1,
        le=1_000_000,
        examples=[256],
        description="with so many requests in flight at a worker, or fewer, no limit of them begins",
    )

    @field_validator("proxy_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for network in filter(None, value.split(",")):
            try:
                ip_network(network.strip())
            except ValueError as error:
                raise ValueError(f"{network.strip()!r} is no network: {error}") from None
        return value
