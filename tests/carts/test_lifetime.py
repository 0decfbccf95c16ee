"""When a cart has idled for long enough, and when a copy of it is too old to count."""

import pytest

from carts.lifetime import MARGIN_S, Due, Lifetime, due
from carts.state import Status

US = 1_000_000
SHOP = Lifetime(idle_s=1000, guest_idle_s=100, retention_s=50_000)
NOW = 10**9 * US


def at(age_s: float) -> int:
    """The v of a change that is this old."""
    return 2 * (NOW - int(age_s * US))


@pytest.mark.parametrize(("cart_id", "limit"), [("user:1", 1000), ("guest:1", 100)])
def test_a_cart_expires_when_it_has_idled_for_the_limit_of_its_kind(cart_id: str, limit: int) -> None:
    assert due(cart_id, at(limit + 1), Status.ACTIVE, NOW, SHOP, expired=False) is Due.EXPIRE
    assert due(cart_id, at(limit - 1), Status.ACTIVE, NOW, SHOP, expired=False) is None


def test_a_cart_that_a_merge_holds_is_left_to_it() -> None:
    assert due("guest:1", at(10_000), Status.CLAIMED, NOW, SHOP, expired=False) is None
    assert due("guest:1", at(10_000), Status.MERGED, NOW, SHOP, expired=False) is Due.EXPIRE


def test_a_cart_is_purged_when_it_was_expired_for_the_retention_time() -> None:
    assert due("user:1", at(50_000), Status.EXPIRED, NOW, SHOP, expired=True) is Due.PURGE
    assert due("user:1", at(49_999), Status.EXPIRED, NOW, SHOP, expired=True) is None
    assert due("guest:1", at(50_000), Status.MERGED, NOW, SHOP, expired=True) is Due.PURGE


@pytest.mark.parametrize("cart_id", ["user:1", "guest:1"])
def test_a_copy_counts_as_absent_before_its_cart_can_have_been_deleted(cart_id: str) -> None:
    idle = SHOP.idle_limit_s(cart_id)
    for expired, purged_at in ((False, idle + SHOP.retention_s), (True, SHOP.retention_s)):
        oldest = purged_at - MARGIN_S
        assert SHOP.forgotten(cart_id, at(oldest + 1), NOW, expired=expired)
        assert not SHOP.forgotten(cart_id, at(oldest), NOW, expired=expired)


def test_where_carts_are_never_deleted_no_copy_is_too_old() -> None:
    endless = Lifetime(idle_s=10)
    assert endless.horizon_us("user:1") == 0
    assert not endless.forgotten("user:1", 2, NOW, expired=True)
    assert due("user:1", 2, Status.EXPIRED, NOW, endless, expired=True) is None
