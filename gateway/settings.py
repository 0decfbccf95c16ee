"""The gateway's settings, each from `CARTSTREAM_<NAME>`; a wrong one stops the start with a right one."""

import re
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gateway.identity.settings import IdentitySettings
from gateway.live.settings import LiveSettings
from gateway.rates.settings import RateSettings
from gateway.server.settings import ServerSettings
from runtime.history import HistorySettings
from runtime.owners import OwnerSettings
from runtime.recovery import RecoverySettings
from runtime.settings import KafkaSettings, LogSettings, TargetSettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings

PROCESS: Final = "cartstream-gateway"
"""The name of the process in its log."""

_NAME: Final = re.compile(r"\.?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.IGNORECASE)
_ORIGIN: Final = re.compile(r"https?://[a-z0-9._-]+(?::\d{1,5})?|https?://\[[0-9a-f:.]+\](?::\d{1,5})?")
CLOSING_S: Final = 10.0
"""For what a gateway does after its last request: flush the publisher, close its connections."""
_AFTER_CHECKOUT_S: Final = 10.0
_BEFORE_ERASURE_WAIT_S: Final = 20.0
"""For the transaction of an erasure, which may have to wait for its turn."""


class GatewaySettings(
    KafkaSettings,
    RedisSettings,
    PostgresSettings,
    OwnerSettings,
    IdentitySettings,
    LiveSettings,
    HistorySettings,
    RecoverySettings,
    RateSettings,
    ServerSettings,
    LogSettings,
    TargetSettings,
):
    """Addresses, bounds and waits of one gateway process. Times in seconds, sizes in bytes."""

    gateway_host: str = Field("127.0.0.1", examples=["127.0.0.1"], description="address to listen on")
    gateway_port: int = Field(8000, ge=1, le=65535, examples=[8000], description="port to listen on")
    gateway_names: str = Field(
        "",
        examples=["carts.example.com,.shop.example.com"],
        description="names by which the gateway may be asked, between commas: `carts.example.com`, or "
        "`.example.com` for all below it. Addresses and `localhost` always may. Without "
        "names: in development mode also names without a dot, in production mode any. Other "
        "names get 421",
    )
    cors_origins: str = Field(
        "",
        examples=["https://shop.example.com"],
        description="origins whose pages may read replies in a browser, with credentials, between commas: "
        "`https://shop.example.com`",
    )
    gateway_workers: int = Field(
        1,
        ge=1,
        le=64,
        examples=[2],
        description="processes that share the port; SIGHUP replaces them one after the other",
    )
    ready_file: Path | None = Field(
        None, examples=["/run/cartstream/ready"], description="file that is touched while the process serves"
    )
    access_log: bool = Field(default=False, examples=[False], description="log one line per request")

    body_bytes: int = Field(
        256 * 1024, ge=1024, le=1_000_000, examples=[262144], description="largest request body"
    )
    request_deadline_s: float = Field(
        5.0,
        gt=0,
        le=60,
        examples=[5],
        description="longest time for a request; at least the Redis timeout plus the publish wait",
    )
    publish_wait_s: float = Field(
        2.0,
        gt=0,
        le=10,
        examples=[2],
        description="how long a change waits for Kafka before it is acknowledged with durability redis",
    )
    restore_wait_s: float = Field(
        2.0,
        ge=0,
        le=30,
        examples=[2],
        description="how long a write, a checkout, or a read of a cart that Postgres lacks waits for a "
        "restore",
    )
    drain_s: float = Field(
        2.0,
        ge=0,
        le=300,
        examples=[2],
        description='how long it serves after SIGTERM while it says "not ready"',
    )
    stop_s: float = Field(
        15.0,
        gt=0,
        le=300,
        examples=[15],
        description="how long requests in flight may take when stopping; no less than a checkout may. A "
        "gateway that has not ended 10 s after both exits with 75",
    )

    sweep_interval_s: float = Field(
        0.5, gt=0, le=60, examples=[0.5], description="pause between looks at the Redis outboxes"
    )
    sweep_age_s: float = Field(
        1.0,
        gt=0,
        le=60,
        examples=[1],
        description="an outbox entry older than this is published by the sweeper",
    )
    redis_patience_s: float = Field(
        0.5,
        ge=0,
        le=60,
        examples=[0.5],
        description="how long requests wait for a lost connection to Redis; after that they get 503 at once",
    )
    outbox_max_share: float = Field(
        0.25,
        gt=0,
        le=1,
        examples=[0.25],
        description="share of Redis's maxmemory for all outboxes; above it, writes get 503",
    )
    postgres_pool: int = Field(
        4, ge=1, le=100, examples=[4], description="connections for loading carts that Redis lacks"
    )
    negative_cache_s: float = Field(
        5.0,
        ge=0,
        le=60,
        examples=[5],
        description="how long the gateway remembers that Postgres does not have a cart",
    )
    negative_cache_size: int = Field(
        100_000, ge=1, examples=[100000], description="how many such carts it remembers"
    )

    products_max_age_s: int = Field(
        5,
        ge=0,
        le=86_400,
        examples=[5],
        description="how long HTTP caches may keep products and lists of them",
    )
    pricing_url: str | None = Field(
        None,
        pattern=r"^https?://.+",
        examples=["http://127.0.0.1:8100/price"],
        json_schema_extra={"secret": True},
        description="address of the pricing hook: carts are posted there, adjustments come back",
    )
    pricing_timeout_s: float = Field(
        0.3,
        gt=0,
        le=2,
        examples=[0.3],
        description="how long to wait for the hook; after that the cart has no adjustments",
    )

    database_pool: int = Field(
        4, ge=1, le=100, examples=[4], description="connections for products, checkouts and orders"
    )
    checkout_deadline_s: float = Field(
        15.0, gt=0, le=60, examples=[15], description="longest time for a checkout"
    )
    checkout_timeout_s: float = Field(
        900.0,
        gt=0,
        le=86_400,
        examples=[900],
        description="external orders: a checkout that has not been completed by then is over",
    )

    merge_wait_s: float = Field(
        0.8,
        gt=0,
        le=30,
        examples=[0.8],
        description="a merge that is not done by then goes to the merge agent, and the reply is 202",
    )
    merge_lines: int = Field(
        50,
        ge=0,
        le=500,
        examples=[50],
        description="a guest cart with more lines goes to the merge agent at once",
    )
    erasure_wait_s: float = Field(
        5.0,
        gt=0,
        le=60,
        examples=[5],
        description="an erasure that was not seen in every store by then is answered with 202; it goes on",
    )
    mailbox_url: str = Field(
        "http://127.0.0.1:8025",
        pattern=r"^https?://\S+$",
        examples=["http://127.0.0.1:8025"],
        description="page of the mailbox, to which the demo of development mode links",
    )
    ops_url: str = Field(
        "http://127.0.0.1:8030/ops",
        pattern=r"^https?://\S+$",
        examples=["http://127.0.0.1:8030/ops"],
        description="the operations page, to which the start page of development mode links",
    )

    @field_validator("gateway_names")
    @classmethod
    def _are_names(cls, value: str) -> str:
        for name in _listed(value):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a host, without scheme and port")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in _listed(value):
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: scheme, host and port as a browser sends them")
        return value

    @field_validator("pricing_url")
    @classmethod
    def _is_a_web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            is_address = bool(parts.hostname) and parts.port != 0 and value.isprintable() and " " not in value
        except ValueError:
            is_address = False
        if not is_address:
            raise ValueError("is no address: it needs a host, and a port from 1 to 65535 or none")
        return value

    @model_validator(mode="after")
    def _waits_fit_the_deadline(self) -> Self:
        waits = self.redis_timeout_s + self.publish_wait_s
        if waits > self.request_deadline_s:
            raise ValueError(
                f"CARTSTREAM_REQUEST_DEADLINE_S: {self.request_deadline_s:g} is less than "
                "CARTSTREAM_REDIS_TIMEOUT_S plus CARTSTREAM_PUBLISH_WAIT_S. "
                f"A right value: CARTSTREAM_REQUEST_DEADLINE_S={waits + 1:g}"
            )
        return self

    @model_validator(mode="after")
    def _heartbeats_keep_streams_open(self) -> Self:
        if self.live_heartbeat_s > self.longest_request_s:
            raise ValueError(
                f"CARTSTREAM_LIVE_HEARTBEAT_S: {self.live_heartbeat_s:g} is more than the longest request "
                f"takes, and a connection that is silent for longer is closed. "
                f"A right value: CARTSTREAM_LIVE_HEARTBEAT_S={self.longest_request_s:g}"
            )
        return self

    @property
    def names(self) -> list[str]:
        """The names by which the gateway may be asked; none: see gateway.http.names."""
        return _listed(self.gateway_names)

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may read replies."""
        return _listed(self.cors_origins)

    @property
    def own_url(self) -> str:
        """Where it listens."""
        host = f"[{self.gateway_host}]" if ":" in self.gateway_host else self.gateway_host
        return f"http://{host}:{self.gateway_port}"

    @property
    def longest_stop_s(self) -> float:
        """The gateway has ended by then after SIGTERM, whatever does not answer."""
        return self.drain_s + self.stop_s + CLOSING_S

    @property
    def longest_request_s(self) -> float:
        """Every request has been answered by then.

        A checkout's deadline, then its subtraction; an erasure's transaction, then its wait.
        """
        return max(
            self.request_deadline_s,
            self.checkout_deadline_s + _AFTER_CHECKOUT_S,
            _BEFORE_ERASURE_WAIT_S + self.erasure_wait_s,
        )


def _listed(text: str) -> list[str]:
    return [entry for part in text.split(",") if (entry := part.strip())]
