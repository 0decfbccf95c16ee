"""How long carts live and stay: idle limits and RT, for compaction, purges and readers of copies."""

from math import ceil
from typing import Final, Self

from pydantic import Field, model_validator

from carts.limits import TIMING
from runtime.settings import Settings
from topics.registry import CART_CHANGED

_DAY_S: Final = 24 * 60 * 60
_OUTBOX_HOLD_S: Final = 7 * _DAY_S
"""The longest outage after which changes that wait in an outbox are still published as usual."""
_EXPIRY_DELAY_S: Final = 2 * _DAY_S
"""How late a cart may expire: the job may pause for a day between two rounds, and a round takes its time."""


class RetentionSettings(Settings):
    """The same values in every process. Those with which a purge could reach a live cart are refused."""

    purge_after_days: int = Field(
        default=30,
        ge=1,
        examples=[30],
        description="RT: an expired cart is deleted everywhere after this time. At least 16: changes are "
        "in `cart-changed` for up to 8 days, and in an outbox for 7 after an outage",
    )
    cart_idle_limit_s: int = Field(
        7 * _DAY_S,
        ge=60,
        examples=[604_800],
        description="a cart expires, and leaves Redis, when it has not changed for this long. At least "
        "two days shorter than RT, or a purge could delete carts that still live",
    )
    guest_idle_limit_s: int | None = Field(
        None,
        ge=60,
        examples=[86_400],
        description="the same for guest carts; if not set, the limit above applies",
    )

    @model_validator(mode="after")
    def _outlives_old_events(self) -> Self:
        kept_s = CART_CHANGED.outlived_by.total_seconds()
        needed_s = (
            kept_s + _OUTBOX_HOLD_S + (TIMING.retry_horizon_us + TIMING.publish_deadline_us) / 1_000_000
        )
        if self.purge_after_days * _DAY_S <= needed_s:
            raise ValueError(
                f"CARTSTREAM_PURGE_AFTER_DAYS: {self.purge_after_days} days do not outlast the events of "
                f"{CART_CHANGED.name} and of an outbox after an outage, one of them could meet a cart that "
                f"is deleted already: at least {_days_over(needed_s)} are needed, a right value is 30"
            )
        return self

    @model_validator(mode="after")
    def _outlives_idle_carts(self) -> Self:
        # A purge lifts its partition's floor to a version RT old. What is below the floor counts as deleted.
        longest_s = self.purge_after_days * _DAY_S - _EXPIRY_DELAY_S
        limits = {
            "CARTSTREAM_CART_IDLE_LIMIT_S": self.cart_idle_limit_s,
            "CARTSTREAM_GUEST_IDLE_LIMIT_S": self.guest_idle_limit_s or 0,
        }
        for name, limit_s in limits.items():
            if limit_s > longest_s:
                raise ValueError(
                    f"{name}: carts that live for {limit_s} s without a change could be deleted by a purge, "
                    f"because CARTSTREAM_PURGE_AFTER_DAYS is {self.purge_after_days}: "
                    f"set it to {_days_over(limit_s + _EXPIRY_DELAY_S - 1)}, or the limit to {longest_s}"
                )
        return self

    @property
    def retention_us(self) -> int:
        """`purge_after_days` in microseconds."""
        return self.purge_after_days * _DAY_S * 1_000_000


def _days_over(seconds: float) -> int:
    """The smallest number of whole days that is longer."""
    return ceil((seconds + 1) / _DAY_S)
