"""Who calls and what it may do: the decisions, without a server."""

import asyncio
import base64
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import DEFAULT, Mock

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.identity import jwt_keys
from gateway.identity.access import Access, Decision, decide
from gateway.identity.callers import KnownCallers, Presented
from gateway.identity.guest_tokens import GuestTokens, Sessions
from gateway.identity.jwt_keys import FileKey, PublishedKeys
from gateway.identity.jwt_tokens import InvalidToken
from gateway.identity.principal import ANONYMOUS, OPEN, Kind, Principal, Scope
from gateway.identity.settings import IdentitySettings
from runtime.settings import SettingsError, load
from tests.gateway.logins import SECRET, PublishedKey, jwts, publishing, signed
from tests.support.waiting import until, until_blocking

KEY, OLD_KEY = "k" * 32, "o" * 32
NOW = 1_800_000_000

GUEST = Principal(Kind.GUEST, carts=("guest:mine",))
SHOPPER = Principal(Kind.SHOPPER, carts=("user:42", "guest:mine"))


def service(*scopes: Scope) -> Principal:
    return Principal(Kind.SERVICE, scopes=frozenset(scopes), actor="service:shop")


EVERY_SCOPE = service(*Scope)


@pytest.mark.parametrize(
    ("access", "decisions"),
    [
        # anonymous, own guest, other's guest, own user, other's user, service with, without the scope
        (Access.PUBLIC, "allowed allowed allowed allowed allowed allowed allowed"),
        (Access.CART, "unauthenticated allowed hidden allowed hidden allowed forbidden"),
        (Access.ORDERS, "unauthenticated allowed hidden allowed hidden allowed forbidden"),
        (Access.ORDER, "unauthenticated allowed allowed allowed allowed allowed allowed"),
        (Access.ORDERS_SERVICE, "unauthenticated hidden hidden hidden hidden allowed forbidden"),
        (Access.CATALOGUE, "unauthenticated forbidden forbidden forbidden forbidden allowed forbidden"),
        (Access.SERVICE, "unauthenticated forbidden forbidden forbidden forbidden allowed allowed"),
    ],
)
def test_the_matrix_of_callers_and_routes(access: Access, decisions: str) -> None:
    callers = [
        (ANONYMOUS, "guest:mine"),
        (GUEST, "guest:mine"),
        (GUEST, "guest:other"),
        (SHOPPER, "user:42"),
        (SHOPPER, "user:43"),
        (EVERY_SCOPE, "user:42"),
        (service(), "user:42"),
    ]
    assert [decide(caller, access, cart) for caller, cart in callers] == [
        Decision(word) for word in decisions.split()
    ]


@pytest.mark.parametrize("access", list(Access))
def test_development_mode_is_open(access: Access) -> None:
    assert decide(OPEN, access, "user:anybody") is Decision.ALLOWED


def test_a_shopper_reaches_the_guest_cart_whose_token_it_presents() -> None:
    assert decide(SHOPPER, Access.CART, "guest:mine") is Decision.ALLOWED
    assert decide(SHOPPER, Access.CART, "guest:other") is Decision.HIDDEN


def guests(*keys: str, now: float = NOW) -> GuestTokens:
    return GuestTokens(keys or (KEY,), 3600, clock=lambda: now)


def test_a_guest_token_proves_its_cart_until_it_expires() -> None:
    minted = guests().mint()
    assert minted.expires_at == NOW + 3600
    assert guests().check(minted.token) == minted
    assert guests(now=NOW + 3600).check(minted.token) is None


def test_the_id_of_a_guest_cart_does_not_contain_its_proof() -> None:
    minted = guests().mint()
    secret = minted.token.split(".")[1]
    assert secret not in minted.cart_id
    assert guests().check(minted.cart_id.removeprefix("guest:")) is None
    assert guests().check(f"g1.{minted.cart_id.removeprefix('guest:')}.{minted.expires_at}.x") is None


def test_a_renewed_token_is_for_the_same_cart() -> None:
    minted = guests().mint()
    renewed = guests(now=NOW + 3000).renew(minted.token)
    assert renewed is not None
    assert (renewed.cart_id, renewed.expires_at) == (minted.cart_id, NOW + 6600)
    assert guests(now=NOW + 3600).renew(minted.token) is None


def test_keys_of_guest_tokens_can_rotate() -> None:
    minted = guests(OLD_KEY).mint()
    assert guests(KEY, OLD_KEY).check(minted.token) == minted
    assert guests(KEY).check(minted.token) is None


@pytest.mark.parametrize("change", ["secret", "expiry", "signature", "case"])
def test_a_guest_token_that_was_changed_is_none(change: str) -> None:
    version, secret, expiry, signature = guests().mint().token.split(".")
    changed = {
        "secret": f"{version}.{secret[::-1]}.{expiry}.{signature}",
        "expiry": f"{version}.{secret}.{int(expiry) + 1}.{signature}",
        "signature": f"{version}.{secret}.{expiry}.{signature[:-1]}",
        "case": f"{version}.{secret}.{expiry}.{signature.swapcase()}",
    }
    assert guests().check(changed[change]) is None


@pytest.mark.parametrize("token", ["", "g1", "g1...", "g1.a.b.c.d", "g2.a.1.b", "g1.é.1.b", "g1.a.\n1.b"])
def test_what_is_no_guest_token_is_none(token: str) -> None:
    assert guests().check(token) is None


def test_a_session_has_one_cart_and_the_cart_does_not_tell_the_session() -> None:
    sessions = Sessions(KEY)
    assert sessions.cart_id("abc") == sessions.cart_id("abc") != sessions.cart_id("abd")
    assert "abc" not in sessions.cart_id("abc")
    assert Sessions(OLD_KEY).cart_id("abc") != sessions.cart_id("abc")


def test_a_jwt_is_the_shopper_in_its_sub() -> None:
    assert jwts().principal(signed()) == Principal(Kind.SHOPPER, carts=("user:42",), actor="user:42")


@pytest.mark.parametrize("scope", ["orders carts", ["orders", "carts"], "openid orders carts"])
def test_a_jwt_with_scopes_is_a_service(scope: Any) -> None:
    found = jwts().principal(signed(sub="shop", scope=scope))
    assert found == service(Scope.ORDERS, Scope.CARTS)


def test_scopes_of_others_make_no_service() -> None:
    assert jwts().principal(signed(scope="openid profile")).kind is Kind.SHOPPER


@pytest.mark.parametrize("subject", ["auth0|abc", "ada@example.org", "gid://shop/Customer/7", "Zoë", "日本"])
def test_ids_that_people_have_are_accepted(subject: str) -> None:
    assert jwts().principal(signed(sub=subject)).carts == (f"user:{subject}",)


def test_a_sub_is_brought_to_one_unicode_form() -> None:
    assert jwts().principal(signed(sub="Zoe\u0308")).carts == ("user:Zoë",)


@pytest.mark.parametrize(
    "token",
    [
        signed("x" * 32),
        signed(exp=time.time() - 60),
        jwt.encode({"sub": "42"}, SECRET),
        jwt.encode({"exp": time.time() + 60}, SECRET),
        signed(sub='"; drop'),
        signed(sub=""),
        "not.a.jwt",
        "",
        base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=") + ".e30.",
    ],
    ids=["key", "expired", "no exp", "no sub", "bad sub", "empty sub", "no JWT", "empty", "alg none"],
)
def test_a_jwt_that_proves_nothing_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        jwts().principal(token)


def test_a_jwt_is_checked_again_when_it_expires_although_it_is_known() -> None:
    tokens = jwts()

    def known() -> tuple[str, int] | None:
        expires_at = int(time.time()) + 2  # whole seconds count: one more may be over at once
        token = signed(exp=expires_at)
        with suppress(InvalidToken):  # a process that was held up is too late for it
            tokens.principal(token)
            return token, expires_at
        return None

    found = until_blocking(known, "a token that is known")
    assert found is not None
    token, expires_at = found
    time.sleep(max(0, expires_at + 0.1 - time.time()))
    with pytest.raises(InvalidToken, match="expired"):
        tokens.principal(token)


def test_issuer_and_audience_are_held_to() -> None:
    tokens = jwts(issuer="https://login", audience="cartstream")
    assert tokens.principal(signed(iss="https://login", aud="cartstream")).kind is Kind.SHOPPER
    for claims in ({}, {"iss": "https://login"}, {"iss": "https://other", "aud": "cartstream"}):
        with pytest.raises(InvalidToken):
            tokens.principal(signed(**claims))


def pem_of(key: Any) -> bytes:
    public: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_public_key_out_of_a_file_checks_its_kind_of_jwt_only(algorithm: str, tmp_path: Path) -> None:
    key: Any = rsa.generate_private_key(65537, 2048)
    if algorithm == "ES256":
        key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "jwt.pem"
    file.write_bytes(pem_of(key))
    tokens = jwts(FileKey(file))
    assert tokens.principal(signed(key, algorithm)).carts == ("user:42",)
    # The public key taken for a shared secret: the oldest trick there is.
    header, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "HS256"}, {"sub": "42", "exp": time.time() + 60})
    )
    forged = jwt.api_jws.PyJWS().get_algorithm_by_name("HS256")
    mark = forged.sign(f"{header}.{body}".encode(), pem_of(key))
    signature = base64.urlsafe_b64encode(mark).rstrip(b"=").decode()
    with pytest.raises(InvalidToken):
        tokens.principal(f"{header}.{body}.{signature}")


def callers() -> KnownCallers:
    return KnownCallers(GuestTokens([KEY], 3600), jwts(), Sessions(KEY))


def test_without_a_proof_a_caller_is_anonymous() -> None:
    assert callers().identify(Presented()) is ANONYMOUS


def test_a_guest_is_known_by_bearer_header_or_session() -> None:
    minted = GuestTokens([KEY], 3600).mint()
    by_bearer = callers().identify(Presented(authorization=f"Bearer {minted.token}"))
    by_header = callers().identify(Presented(cart_token=minted.token))
    assert by_bearer == by_header == Principal(Kind.GUEST, carts=(minted.cart_id,), actor=minted.cart_id)
    assert callers().identify(Presented(session="abc")).carts == (Sessions(KEY).cart_id("abc"),)


def test_a_shopper_brings_its_guest_cart_along() -> None:
    minted = GuestTokens([KEY], 3600).mint()
    found = callers().identify(Presented(authorization=f"bearer {signed()}", cart_token=minted.token))
    assert (found.kind, found.carts, found.actor) == (Kind.SHOPPER, ("user:42", minted.cart_id), "user:42")


def test_a_service_acts_for_somebody_and_a_shopper_does_not() -> None:
    token = signed(sub="shop", scope="carts")
    found = callers().identify(Presented(authorization=f"Bearer {token}", acting_for="user:7"))
    assert (found.kind, found.actor) == (Kind.SERVICE, "service:shop for user:7")
    found = callers().identify(Presented(authorization=f"Bearer {signed()}", acting_for="user:7"))
    assert (found.carts, found.actor) == (("user:42",), "user:42")


@pytest.mark.parametrize("authorization", ["Basic YTpi", "Bearer", "Bearer g1.forged.1.x", "", "g1.a.1.b"])
def test_a_wrong_proof_is_refused_and_not_taken_for_none(authorization: str) -> None:
    with pytest.raises(InvalidToken):
        callers().identify(Presented(authorization=authorization))


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "CARTSTREAM_GUEST_TOKEN_KEYS"),
        ({"CARTSTREAM_GUEST_TOKEN_KEYS": KEY}, "CARTSTREAM_JWT"),
        ({"CARTSTREAM_GUEST_TOKEN_KEYS": "short"}, "CARTSTREAM_GUEST_TOKEN_KEYS"),
        ({"CARTSTREAM_GUEST_TOKEN_KEYS": f"{KEY},short"}, "CARTSTREAM_GUEST_TOKEN_KEYS"),
        ({"CARTSTREAM_GUEST_TOKEN_KEYS": KEY, "CARTSTREAM_JWT_SECRET": "short"}, "CARTSTREAM_JWT_SECRET"),
        (
            {"CARTSTREAM_GUEST_TOKEN_KEYS": KEY, "CARTSTREAM_JWT_PUBLIC_KEY_FILE": "/nowhere"},
            "CARTSTREAM_JWT_PUBLIC_KEY_FILE",
        ),
    ],
)
def test_production_mode_does_not_start_with_weak_or_missing_keys(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTSTREAM_MODE", "production")
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=name) as raised:
        load(IdentitySettings)
    assert "short" not in str(raised.value)


async def test_published_keys_are_read_again_when_a_token_names_a_new_one() -> None:
    old, new = PublishedKey("old"), PublishedKey("new")
    served: list[Any] = [old]
    async with publishing(served) as url:
        keys = PublishedKeys(url, refresh_s=3600)
        await keys.open()
        tokens = jwts(keys)
        assert tokens.principal(old.token()).carts == ("user:42",)
        served.append(new)
        with pytest.raises(InvalidToken, match="no key"):
            tokens.principal(new.token())

        async def known() -> bool:
            return keys.find("ES256", "new") is not None

        await until(known, "the new key")
        assert tokens.principal(new.token()).carts == ("user:42",)
        await keys.close()


async def test_a_login_that_is_away_leaves_the_keys_read_last() -> None:
    key = PublishedKey("one")
    served: list[Any] = [key]
    async with publishing(served) as url:
        keys = PublishedKeys(url, refresh_s=0.05)
        await keys.open()
        served.clear()
        await asyncio.sleep(0)
        await keys.close()
        await keys.open()  # reads an answer that is none
        assert jwts(keys).principal(key.token()).carts == ("user:42",)
        await keys.close()


async def test_keys_are_read_again_after_an_answer_that_nobody_has_foreseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing = Mock(side_effect=[AttributeError("a new kind of answer"), DEFAULT], wraps=jwt_keys._keys_in)  # noqa: SLF001
    monkeypatch.setattr(jwt_keys, "_keys_in", failing)
    key = PublishedKey("one")
    async with publishing([key]) as url:
        keys = PublishedKeys(url, refresh_s=0.05)
        await keys.open()
        await until(lambda: keys.find("ES256", "one"), "the key")
        await keys.close()


async def test_a_gateway_starts_without_the_login() -> None:
    keys = PublishedKeys("http://127.0.0.1:9/jwks.json", refresh_s=3600)
    await keys.open()
    with pytest.raises(InvalidToken, match="no key"):
        jwts(keys).principal(PublishedKey("one").token())
    await keys.close()
