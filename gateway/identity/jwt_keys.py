"""The keys by which JWTs are checked: a shared secret, a file, or a published set that is kept fresh."""

import asyncio
import time
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

log = structlog.get_logger(__name__)

PUBLIC_ALGORITHMS: Final = ("RS256", "ES256")
_RSA_BITS: Final = 2048
"""Shorter RSA keys may not sign (RFC 7518, 3.3)."""
_TIMEOUT_S: Final = 5.0
_UNKNOWN_KEY_PAUSE_S: Final = 10.0
"""An unknown key id may be a new key: the set is read sooner, but no attacker can make that often."""


class Keys(Protocol):
    """Finds the key that a JWT names."""

    def find(self, algorithm: str, key_id: str | None) -> Any | None:
        """The key for a JWT with that header, the same object as long as it is valid; None: there is none.

        Waits for nothing.
        """
        ...


class SecretKey:
    """One shared secret, for HS256 only."""

    def __init__(self, secret: str) -> None:
        self._secret: Final = secret

    def find(self, algorithm: str, _: str | None) -> Any | None:
        """The secret, for HS256."""
        return self._secret if algorithm == "HS256" else None


class FileKey:
    """A public key in a PEM file, read once. Raises ValueError when it holds none."""

    def __init__(self, path: Path) -> None:
        pem = path.read_bytes()
        self._keys: Final = {}
        for algorithm in PUBLIC_ALGORITHMS:
            try:
                key = jwt.get_algorithm_by_name(algorithm).prepare_key(pem)
            except (jwt.InvalidKeyError, ValueError, TypeError):
                continue  # the other kind of key
            if _may_check(algorithm, key):
                self._keys[algorithm] = key
        if not self._keys:
            raise ValueError(
                f"CARTSTREAM_JWT_PUBLIC_KEY_FILE: {path} holds no public key in PEM of RSA ({_RSA_BITS} bits "
                "or more) or EC (P-256)"
            )

    def find(self, algorithm: str, _: str | None) -> Any | None:
        """The key, if it is of that algorithm's kind."""
        return self._keys.get(algorithm)


class PublishedKeys:
    """A JSON Web Key Set (RFC 7517) at an address. A request only ever looks at the set read last."""

    def __init__(self, url: str, refresh_s: float) -> None:
        self._url: Final = url
        self._refresh_s: Final = refresh_s
        self._keys: dict[tuple[str, str | None], Any] = {}
        self._sooner: Final = asyncio.Event()
        self._asked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the set, and again and again in the background; a failure leaves the set read last."""
        await self._read()
        self._task = asyncio.create_task(self._keep_reading(), name="jwks")

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def find(self, algorithm: str, key_id: str | None) -> Any | None:
        """The published key; an unknown id makes the set be read again soon."""
        found = self._keys.get((algorithm, key_id))
        if found is None and time.monotonic() - self._asked_at > _UNKNOWN_KEY_PAUSE_S:
            self._asked_at = time.monotonic()
            self._sooner.set()
        return found

    async def _keep_reading(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._refresh_s):
                    await self._sooner.wait()
            except TimeoutError:
                pass
            self._sooner.clear()
            await self._read()

    async def _read(self) -> None:
        try:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self._url, allow_redirects=False) as response,
            ):
                response.raise_for_status()
                found = _keys_in(await response.json(content_type=None))
        except Exception as error:  # noqa: BLE001  whatever it was: keys that are never read again shut shoppers out
            log.warning("identity.keys_not_read", keys=len(self._keys), error=repr(error))
            return
        self._keys = found
        log.info("identity.keys_read", keys=len(found))


def _keys_in(document: Any) -> dict[tuple[str, str | None], Any]:
    """The usable keys of a set, by algorithm and key id; others are skipped. ValueError: there is none."""
    published = document.get("keys") if isinstance(document, dict) else None
    found = {}
    for published_key in published if isinstance(published, list) else []:
        if not _is_for_signatures(published_key):
            continue
        try:
            key = jwt.PyJWK(published_key)
        except jwt.PyJWTError:
            continue
        if _may_check(key.algorithm_name, key.key):
            found[key.algorithm_name, key.key_id] = key.key
    if not found:
        raise ValueError("there is no key to check JWTs with")
    return found


def _is_for_signatures(published_key: Any) -> bool:
    """Whether a member of a set says that it is a key for the algorithms used here, as far as it says."""
    return (
        isinstance(published_key, dict)
        and published_key.get("alg") in (None, *PUBLIC_ALGORITHMS)
        and published_key.get("use") in (None, "sig")
        and isinstance(published_key.get("kid"), str | None)
    )


def _may_check(algorithm: str, key: Any) -> bool:
    """Whether a key may check JWTs of that algorithm: it is public, of the right kind, and strong."""
    if algorithm == "RS256":
        return isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS
    if algorithm == "ES256":
        return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    return False
