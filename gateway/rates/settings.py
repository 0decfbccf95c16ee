"""Settings of rate limits, each `CARTSTREAM_<NAME>`: a quota for each minute, 0 for none."""

from pydantic import Field

from runtime.settings import Settings

_MOST = 100_000_000


class RateSettings(Settings):
    """How many requests may come in a minute, to all gateways together."""

    rate_per_address: int = Field(
        0,
        ge=0,
        le=_MOST,
        examples=[6000],
        description="requests of one client address, `/health/` apart: an IPv4 address or an IPv6 network "
        "/64",
    )
    rate_per_shopper: int = Field(
        0,
        ge=0,
        le=_MOST,
        examples=[600],
        description="requests of one shopper or guest, by the cart that a token or session proves. In "
        "production mode only",
    )
    rate_per_service: int = Field(
        0,
        ge=0,
        le=_MOST,
        examples=[60_000],
        description="requests of one service, by the `sub` of its JWT, for whomever it acts. In "
        "production mode only",
    )
    rate_of_mints: int = Field(
        600,
        ge=0,
        le=_MOST,
        examples=[600],
        description="guest carts minted from one client address; services are not counted",
    )
    rate_of_products: int = Field(
        0,
        ge=0,
        le=_MOST,
        examples=[60_000],
        description="products written by one service. An import that is ahead of it waits",
    )
