"""Settings of the process that serves the operations page."""

import ipaddress
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from ops.overview.settings import OverviewSettings
from runtime.keys import check_strength


class PageSettings(OverviewSettings):
    """Where the page is served, and to whom."""

    ops_host: str = Field(
        "127.0.0.1",
        min_length=1,
        examples=["10.0.0.7"],
        description="address that the page is served on; any but loopback needs a token",
    )
    ops_port: int = Field(8030, ge=1, le=65535, examples=[8030], description="its port")
    ops_token: SecretStr | None = Field(
        None,
        examples=["output-of-openssl-rand-base64-48"],
        description="what a browser is asked for as the password, under any name, and programs send as a "
        "Bearer token; 32 characters at least. Without it whoever reaches the port on this host is let in",
    )

    @field_validator("ops_token")
    @classmethod
    def _is_strong(cls, value: SecretStr | None) -> SecretStr | None:
        return check_strength(value)

    @model_validator(mode="after")
    def _is_not_open_by_mistake(self) -> Self:
        if self.ops_token is None and not is_loopback(self.ops_host):
            raise ValueError(
                f"CARTSTREAM_OPS_TOKEN: a page on {self.ops_host} needs a token; make one with "
                "`openssl rand -base64 48`, or leave CARTSTREAM_OPS_HOST at 127.0.0.1"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this host reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
