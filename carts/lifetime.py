"""How long a cart lives without a change, and how long something of it stays after that. Pure.

A cart that idles for its limit expires; expired for the retention time RT it is deleted everywhere. A copy of
it that was overlooked must not come back to life, so copies that old count as absent, a little earlier than
their cart can have been deleted.
"""

from enum import StrEnum
from typing import Final

import msgspec

from carts.protocol import too_stale
from carts.state import Status

GUEST_PREFIX: Final = "guest:"
MARGIN_S: Final = 3600
"""G = RT less this: for clocks that differ, and for requests and replies under way."""

_DAY_S: Final = 86_400


class Lifetime(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a shop, in seconds. `retention_s` is RT; 0: carts are never deleted."""

    idle_s: int = 7 * _DAY_S
    guest_idle_s: int = 7 * _DAY_S
    retention_s: int = 0

    def idle_limit_s(self, cart_id: str) -> int:
        """How long the cart may idle before it expires."""
        return self.guest_idle_s if cart_id.startswith(GUEST_PREFIX) else self.idle_s

    def idle(self, cart_id: str, version: int, now_us: int) -> bool:
        """Whether a cart at `version` has idled for its limit."""
        return too_stale(version, now_us, self.idle_limit_s(cart_id) * 1_000_000)

    def horizon_us(self, cart_id: str) -> int:
        """Age of the newest change at which a copy counts as absent; 0: never.

        A copy that has expired counts from its expiry, an idle limit sooner.
        """
        if not self.retention_s:
            return 0
        return max(1, (self.idle_limit_s(cart_id) + self.retention_s - MARGIN_S) * 1_000_000)

    def forgotten(self, cart_id: str, version: int, now_us: int, *, expired: bool) -> bool:
        """Whether a copy at `version` counts as absent: its cart may have been deleted meanwhile."""
        if not self.retention_s:
            return False
        horizon = (self.retention_s - MARGIN_S) * 1_000_000 if expired else self.horizon_us(cart_id)
        return too_stale(version, now_us, horizon)


class Due(StrEnum):
    """What a cart has coming."""

    EXPIRE = "expire"
    PURGE = "purge"


def due(
    cart_id: str, version: int, status: Status, now_us: int, lifetime: Lifetime, *, expired: bool
) -> Due | None:
    """What a cart at `version` has coming by the clock. A claimed one is its merge's until that ends."""
    if expired:
        purged = bool(lifetime.retention_s) and 2 * now_us - version >= 2 * lifetime.retention_s * 1_000_000
        return Due.PURGE if purged else None
    return Due.EXPIRE if status is not Status.CLAIMED and lifetime.idle(cart_id, version, now_us) else None
