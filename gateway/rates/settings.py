"""Settings of rate limits, each `CARTSTREAM_<NAME>`: a quota for each minute, 0 for none."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import PREFIX

_MOST = 100_000_000


class RateSettings(BaseSettings):
    """How many requests may come in a minute, to all gateways together."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    rate_per_address: int = Field(
        0, ge=0, le=_MOST, examples=[6000], description="requests of one client address"
    )
    rate_per_shopper: int = Field(
        0, ge=0, le=_MOST, examples=[600], description="requests of one shopper or guest who has proved it"
    )
    rate_per_service: int = Field(
        0, ge=0, le=_MOST, examples=[60_000], description="requests of one service, by the sub of its JWT"
    )
    rate_of_mints: int = Field(
        600, ge=0, le=_MOST, examples=[600], description="guest carts minted from one client address"
    )
    rate_of_products: int = Field(
        0, ge=0, le=_MOST, examples=[60_000], description="products written by one service"
    )
