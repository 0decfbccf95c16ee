"""Links prove what was signed, for as long as was signed, and nothing else."""

import pytest

from runtime.recovery import IdlePeriod, RecoverySettings, SignedLinks, hash_of
from runtime.settings import SettingsError, load

KEY, OTHER = "k" * 32, "o" * 32
PERIOD = IdlePeriod("user:ada@example.org", 3_538_663_200_000_000)


def links(*keys: str, now: float = 1_000) -> SignedLinks:
    """Signs and checks with these keys at that time."""
    return SignedLinks(keys or (KEY,), clock=lambda: now)


def test_a_link_leads_to_its_cart_until_it_expires() -> None:
    token = links().recovery(PERIOD, 1_500)
    assert links(now=1_499).recovered(token) == PERIOD
    assert links(now=1_500).recovered(token) is None


def test_keys_rotate() -> None:
    token = links(OTHER).recovery(PERIOD, 1_500)
    assert links(KEY, OTHER).recovered(token) == PERIOD
    assert links(KEY).recovered(token) is None


def test_an_unsubscribe_link_names_a_hash_and_never_expires() -> None:
    token = links().unsubscribe(" Ada@Example.org")
    assert links(now=10**12).unsubscribed(token) == hash_of("ada@example.org")
    assert "ada" not in token.lower()


def test_a_link_of_one_kind_is_none_of_the_other() -> None:
    assert links().unsubscribed(links().recovery(PERIOD, 1_500)) is None
    assert links().recovered(links().unsubscribe("ada@example.org")) is None


@pytest.mark.parametrize("token", ["", "r1", "r1.a.b.c", "r1...", "r1.é.1.x", "g1.a.1500.b", "r1.a.1500"])
def test_what_was_not_signed_is_no_link(token: str) -> None:
    assert links().recovered(token) is None


@pytest.mark.parametrize("part", range(4))
def test_a_changed_link_is_none(part: int) -> None:
    parts = links().recovery(PERIOD, 1_500).split(".")
    parts[part] = parts[part][:-1] + ("A" if parts[part][-1] != "A" else "B") if part != 2 else "2500"
    assert links().recovered(".".join(parts)) is None


def test_a_short_key_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_RECOVERY_KEYS", "short")
    with pytest.raises(SettingsError, match="CARTSTREAM_RECOVERY_KEYS"):
        load(RecoverySettings)
