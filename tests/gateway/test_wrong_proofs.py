"""Proofs that a hostile caller, or a login with mistakes, presents: refused, and nothing fails over them."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.identity.callers import KnownCallers, Presented
from gateway.identity.guest_tokens import GuestTokens, Sessions
from gateway.identity.jwt_keys import FileKey, PublishedKeys
from gateway.identity.jwt_tokens import InvalidToken
from gateway.identity.principal import Kind
from gateway.identity.settings import IdentitySettings
from runtime.settings import SettingsError, load
from tests.gateway.logins import SECRET, PublishedKey, jwts, publishing, signed
from tests.support.waiting import until

NO_TEXT: Final = "\udcff"
"""What Sanic makes of a byte that is no UTF-8."""


def callers() -> KnownCallers:
    return KnownCallers(GuestTokens(["k" * 32], 3600), jwts(), Sessions("k" * 32))


@pytest.mark.parametrize("token", [NO_TEXT, f"g1.{NO_TEXT}.1.x", f"{signed()}{NO_TEXT}"])
def test_a_token_that_is_no_text_is_refused(token: str) -> None:
    for presented in (Presented(authorization=f"Bearer {token}"), Presented(cart_token=token)):
        with pytest.raises(InvalidToken):
            callers().identify(presented)


def test_a_session_id_may_have_any_bytes() -> None:
    one, other = [callers().identify(Presented(session=text)).carts for text in (NO_TEXT, NO_TEXT * 2)]
    assert one != other


@pytest.mark.parametrize("expiry", [10**400, 1e300, 4_102_444_800.9])
def test_an_expiry_may_be_any_number(expiry: float) -> None:
    tokens, token = jwts(), signed(exp=expiry)
    assert tokens.principal(token) is tokens.principal(token)


@pytest.mark.parametrize(
    "scope", [[{}], [["carts"]], {"carts": 1}, ["carts orders"], "carts,orders", "carts\u00a0orders", None]
)
def test_odd_scopes_make_no_service(scope: Any) -> None:
    assert jwts().principal(signed(scope=scope)).kind is Kind.SHOPPER


@pytest.mark.parametrize("subject", ["", "a\0", "a\nb", "\ud800", "x" * 129, 'a"'])
def test_a_service_has_a_usable_id_too(subject: str) -> None:
    with pytest.raises(InvalidToken, match="no usable id"):
        jwts().principal(signed(sub=subject, scope="carts"))


def test_what_is_remembered_of_a_token_is_small() -> None:
    tokens = jwts()
    token = signed(padding="x" * 6000)
    tokens.principal(token)
    assert token not in repr(vars(tokens))


async def test_a_token_is_refused_once_its_key_is_withdrawn_although_it_is_known() -> None:
    stolen, new = PublishedKey("stolen"), PublishedKey("new")
    served: list[Any] = [stolen]
    async with publishing(served) as url:
        keys = PublishedKeys(url, refresh_s=0.05)
        await keys.open()
        tokens, token = jwts(keys), stolen.token()
        assert tokens.principal(token).carts == ("user:42",)
        served[:] = [new]

        async def withdrawn() -> bool:
            return keys.find("ES256", "stolen") is None

        await until(withdrawn, "the key withdrawn")
        with pytest.raises(InvalidToken, match="no key"):
            tokens.principal(token)
        await keys.close()


class PublishedAs:
    """Something published in the place of a key."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def as_dict(self) -> Any:
        """It."""
        return self.value


RSA: Final = rsa.generate_private_key(65537, 2048)
SHORT_RSA: Final = rsa.generate_private_key(65537, 1024)
ODD_ALGORITHMS: Final[tuple[Any, ...]] = ("none", "HS256", "PS256", ["RS256"], {})
ODD_IDS: Final[tuple[Any, ...]] = ([], {}, 1)


def web_key(key: Any, **members: Any) -> dict[str, Any]:
    algorithm = jwt.algorithms.RSAAlgorithm if hasattr(key, "key_size") else None
    found: dict[str, Any] = json.loads((algorithm or jwt.algorithms.ECAlgorithm).to_jwk(key))
    return {**found, "kid": "odd", **members}


@pytest.mark.parametrize(
    "odd",
    [
        *(None, 1, "key", [], {}),
        *({"kty": []}, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "oct", "k": "c2VjcmV0", "alg": "RS256"}),
        *(web_key(RSA.public_key(), alg=odd) for odd in ODD_ALGORITHMS),
        *(web_key(RSA.public_key(), kid=odd) for odd in ODD_IDS),
        *(web_key(RSA.public_key(), n=odd) for odd in (5, "", "\ud800")),
        web_key(RSA.public_key(), use="enc"),
        web_key(RSA),
        web_key(SHORT_RSA.public_key()),
    ],
    ids=lambda odd: str(odd)[:20],
)
async def test_a_published_key_that_checks_nothing_is_skipped_and_the_others_are_read(odd: Any) -> None:
    good = PublishedKey("good")
    async with publishing([PublishedAs(odd), good]) as url:
        keys = PublishedKeys(url, refresh_s=3600)
        await keys.open()
        assert jwts(keys).principal(good.token()).carts == ("user:42",)
        assert all(keys.find(algorithm, "odd") is None for algorithm in ("RS256", "HS256", "none", "PS256"))
        await keys.close()


async def test_published_keys_without_ids_are_told_apart_by_their_kind() -> None:
    ec_key = PublishedKey("")
    served = [PublishedAs(web_key(RSA.public_key(), kid=None)), PublishedAs(ec_key.as_dict() | {"kid": None})]
    async with publishing(served) as url:
        keys = PublishedKeys(url, refresh_s=3600)
        await keys.open()
        for key, algorithm in ((RSA, "RS256"), (ec_key.private, "ES256")):
            assert jwts(keys).principal(signed(key, algorithm)).carts == ("user:42",)
        await keys.close()


@pytest.mark.parametrize("answer", ["[]", "null", '{"keys": 1}', "{", "[" * 100_000, "\udcff"])
async def test_an_answer_that_is_no_key_set_ends_nothing(answer: str) -> None:
    answers = [answer.encode(errors="surrogateescape")]
    good = PublishedKey("good")

    async def answered(_: web.Request) -> web.Response:
        return web.Response(body=answers[-1])

    app = web.Application()
    app.router.add_get("/", answered)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        keys = PublishedKeys(f"http://127.0.0.1:{runner.addresses[0][1]}/", refresh_s=0.05)
        await keys.open()
        await asyncio.sleep(0.2)
        answers.append(json.dumps({"keys": [good.as_dict()]}).encode())

        async def known() -> bool:
            return keys.find("ES256", "good") is not None

        await until(known, "the key")
        await keys.close()
    finally:
        await runner.cleanup()


def private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


@pytest.mark.parametrize(
    "pem",
    [private_pem(RSA), public_pem(SHORT_RSA), public_pem(ec.generate_private_key(ec.SECP384R1())), b"no key"],
    ids=["private", "short", "another curve", "no key"],
)
def test_a_file_with_a_wrong_key_is_refused_at_the_start(pem: bytes, tmp_path: Path) -> None:
    file = tmp_path / "jwt.pem"
    file.write_bytes(pem)
    with pytest.raises(ValueError, match="CARTSTREAM_JWT_PUBLIC_KEY_FILE"):
        FileKey(file)


@pytest.mark.parametrize("key", ["output-of-openssl-rand-base64-48", "development-mode-is-open-no-secret"])
@pytest.mark.parametrize("name", ["GUEST_TOKEN_KEYS", "SESSION_KEY", "JWT_SECRET"])
def test_production_mode_does_not_start_with_a_key_that_everybody_can_read(
    name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTSTREAM_MODE", "production")
    for good in ("GUEST_TOKEN_KEYS", "SESSION_KEY", "JWT_SECRET"):
        monkeypatch.setenv(f"CARTSTREAM_{good}", SECRET)
    load(IdentitySettings)
    monkeypatch.setenv(f"CARTSTREAM_{name}", f" {key}")
    with pytest.raises(SettingsError, match=f"CARTSTREAM_{name}"):
        load(IdentitySettings)
