"""Settings of the process `jobs`, all from `CARTSTREAM_*`."""

from typing import Self

from pydantic import Field, model_validator

from runtime.history import HistorySettings
from runtime.recovery import RecoverySettings
from runtime.settings import ProcessSettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings


class JobsSettings(ProcessSettings, RedisSettings, PostgresSettings, HistorySettings, RecoverySettings):
    """The jobs' stores, and how they are paced."""

    ageing_pause_s: float = Field(
        300.0,
        gt=0,
        le=86_400,
        examples=[300],
        description="expiry: pause between two rounds over the rows of `carts`",
    )
    ageing_rows_per_s: int = Field(
        20_000, ge=1, examples=[20_000], description="expiry, abandonment: most rows read per second, by each"
    )
    ageing_commands_per_s: int = Field(
        500, ge=1, examples=[500], description="expiry: most expiries, purges and trims published per second"
    )
    trim_after_s: float = Field(
        3600.0,
        ge=1800,
        le=365 * 86_400,
        examples=[3600],
        description="expiry: a cart that has idled for so long is [trimmed](glossary.md#trim), if its "
        "window is large enough. At least 1800",
    )
    trim_window_bytes: int = Field(
        4096,
        ge=0,
        examples=[4096],
        description="expiry: that large, in bytes of JSON: about 230 an operation; 0: no cart is trimmed",
    )

    relay_sweep_s: float = Field(
        1.0,
        gt=0,
        le=20,
        examples=[1],
        description="relay: pause between looks at the Postgres outbox when no notification comes",
    )

    settlement_pause_s: float = Field(
        2.0,
        gt=0,
        le=3600,
        examples=[2],
        description="settlement: pause between two rounds over unsettled orders",
    )
    settlement_grace_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        examples=[5],
        description="settlement: a younger order is left to its own checkout",
    )
    merge_pause_s: float = Field(
        2.0,
        gt=0,
        le=3600,
        examples=[2],
        description="merges: pause between two rounds over merges that are not finished",
    )
    merge_grace_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        examples=[5],
        description="merges: whoever carries a merge on is left alone for so long",
    )
    merge_watch_pause_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        examples=[30],
        description="merges: pause between two looks at guest carts that were merged",
    )
    merge_watch_days: float = Field(
        7.0,
        gt=0,
        le=365,
        examples=[7],
        description="merges: how long after its merge a guest cart is looked at",
    )
    checkout_sweep_s: float = Field(
        5.0,
        gt=0,
        le=3600,
        examples=[5],
        description="checkout timeouts: pause between two looks for overdue checkouts",
    )
    history_pause_s: float = Field(
        3600.0,
        gt=0,
        le=86_400,
        examples=[3600],
        description="history: pause between two looks at its partitions",
    )

    abandoned_after_s: float = Field(
        0.0,
        ge=0,
        le=365 * 86_400,
        examples=[10_800],
        description="abandonment: a cart with lines that has idled for so long is told of as left behind; "
        "0: off",
    )
    abandonment_pause_s: float = Field(
        60.0,
        gt=0,
        le=86_400,
        examples=[60],
        description="abandonment: pause between two looks for carts left behind",
    )
    recovery_lifetime_s: int = Field(
        14 * 86_400,
        ge=60,
        le=365 * 86_400,
        examples=[1_209_600],
        description="abandonment: how long a link is good and the cart is watched for a return",
    )
    abandonment_mails: bool = Field(
        default=False,
        examples=[True],
        description="abandonment: one mail about each cart left behind that knows an address",
    )
    abandonment_mails_per_day: int = Field(
        3,
        ge=1,
        le=1000,
        examples=[3],
        description="abandonment: most of those mails to one address in a day (UTC)",
    )
    recovery_url: str = Field(
        "",
        pattern=r"^$|^https?://\S*\{token\}\S*$",
        examples=["https://shop.example.com/recover?token={token}"],
        description="the shop's page in those mails, with `{token}`; it asks the gateway for the cart",
    )
    unsubscribe_url: str = Field(
        "",
        pattern=r"^$|^https?://\S*\{token\}\S*$",
        examples=["https://carts.example.com/v1/unsubscribe/{token}"],
        description="where a gateway's `/v1/unsubscribe/{token}` is reached from outside",
    )

    @model_validator(mode="after")
    def _can_sign_links(self) -> Self:
        if self.abandoned_after_s and self.recovery_keys is None:
            raise ValueError(
                "CARTSTREAM_RECOVERY_KEYS: links to carts left behind need a key that signs them, the "
                "gateway's too; make one with `openssl rand -base64 48`"
            )
        if self.abandonment_mails and not (self.recovery_url and self.unsubscribe_url):
            raise ValueError(
                "CARTSTREAM_RECOVERY_URL and CARTSTREAM_UNSUBSCRIBE_URL: mails need both links, e.g. "
                "https://shop.example.com/recover?token={token} and "
                "https://carts.example.com/v1/unsubscribe/{token}"
            )
        return self
