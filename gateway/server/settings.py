"""Settings of the HTTP server, each `CARTSTREAM_<NAME>`: what a client may take, and all of them together."""

from ipaddress import ip_network
from typing import Final

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import PREFIX

_PRIVATE: Final = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1/128,fc00::/7"


class ServerSettings(BaseSettings):
    """Bounds of one gateway worker. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    connections_max: int = Field(
        10_000, ge=10, le=1_000_000, examples=[10000], description="open connections of one worker"
    )
    connections_per_address: int = Field(
        256, ge=1, le=1_000_000, examples=[256], description="of those, from one address that is no proxy's"
    )
    proxy_networks: str = Field(
        _PRIVATE,
        examples=["10.0.0.0/8,127.0.0.0/8"],
        description="networks of proxies, between commas: the bound of one address does not count for them",
    )
    keep_alive_s: float = Field(
        120.0, gt=0, le=3600, examples=[120], description="a connection without a request is closed then"
    )
    head_wait_s: float = Field(
        10.0, gt=0, le=60, examples=[10], description="waiting for a client's first line and headers, in all"
    )
    body_wait_s: float = Field(
        10.0,
        gt=0,
        le=20,
        examples=[10],
        description="waiting for a client's body, in all, and a second more for each body_bytes_per_s",
    )
    body_bytes_per_s: int = Field(
        1024, ge=1, le=1_000_000_000, examples=[1024], description="the slowest rate at which a body may come"
    )
    bodies_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        examples=[67108864],
        description="large bodies that one worker holds at once; beyond it 503",
    )

    shed_delay_s: float = Field(
        0.01,
        gt=0,
        le=1,
        examples=[0.01],
        description="how long requests may queue for event loop and Redis; beyond it some are turned away",
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
