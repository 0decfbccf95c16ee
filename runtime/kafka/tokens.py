"""Tokens for SASL OAUTHBEARER: a command prints one, which serves all clients until it gets old."""

import asyncio
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

log = structlog.get_logger(__name__)

COMMAND_TIMEOUT_S: Final = 10.0
RENEWED_AFTER: Final = 0.8
"""Share of a token's life after which another one is asked for."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class TokenCommandFailed(KafkaError):  # type: ignore[misc]
    """The token command gave no token. A KafkaError: clients take it for a connection that failed."""


class Token(NamedTuple):
    """A token and, in Unix seconds, when it is to be renewed and when it expires; None: nobody knows."""

    text: str
    renew_at: float | None
    expires_at: float | None


class _Answer(msgspec.Struct):
    """What a token endpoint answers (RFC 6749, section 5.1)."""

    access_token: str
    expires_in: float | None = None


class CommandTokens(AbstractTokenProvider):  # type: ignore[misc]
    """Gives aiokafka the token that a command has printed; for all threads and event loops of a process."""

    def __init__(self, argv: tuple[str, ...], now: Callable[[], float] = time.time) -> None:
        self._argv: Final = argv
        self._now: Final = now
        self._lock: Final = threading.Lock()
        self._held: Token | None = None

    async def token(self) -> str:
        """A token that has not expired. Raises TokenCommandFailed."""
        return await asyncio.to_thread(self._current)

    def _current(self) -> str:
        with self._lock:
            held, now = self._held, self._now()
            if held is not None and held.renew_at is not None and now < held.renew_at:
                return held.text
            try:
                self._held = parsed(self._argv[0], self._run(), now)
            except TokenCommandFailed as error:
                if held is None or held.expires_at is None or now >= held.expires_at:
                    raise
                log.warning("kafka.token_not_renewed", error=str(error), expires_in_s=held.expires_at - now)
                return held.text
            return self._held.text

    def _run(self) -> bytes:
        command = self._argv[0]
        try:
            done = subprocess.run(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                # It may repeat what it was given.
                stderr=subprocess.DEVNULL,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            problem = f"the token command {command} has printed nothing within {COMMAND_TIMEOUT_S:g} s"
            raise TokenCommandFailed(problem) from None
        except OSError as error:
            problem = f"the token command {command} cannot be run: {error.strerror}"
            raise TokenCommandFailed(problem) from error
        if done.returncode:
            raise TokenCommandFailed(
                f"the token command {command} ended with exit code {done.returncode}: run it by hand"
            )
        return done.stdout


@lru_cache
def command_tokens(command: str) -> CommandTokens:
    """The tokens of a command, which is written as for a shell and run without one. One object a process."""
    return CommandTokens(tuple(shlex.split(command)))


def parsed(command: str, output: bytes, now: float) -> Token:
    """The token in what the command has printed: alone, or in the JSON of a token endpoint.

    Without `expires_in` a JWT says itself when it expires; any other token is asked for again at each
    connection. Raises TokenCommandFailed, which repeats nothing of the output.
    """
    text, expires_at = output.decode(errors="replace").strip(), None
    if text.startswith("{"):
        try:
            answer = msgspec.json.decode(text, type=_Answer)
        except msgspec.MsgspecError:
            raise TokenCommandFailed(
                f"the token command {command} has printed JSON without an access_token"
            ) from None
        text = answer.access_token
        if answer.expires_in is not None:
            expires_at = now + answer.expires_in
    if not _TOKEN.fullmatch(text):
        raise TokenCommandFailed(
            f"the token command {command} has printed no token: it may print the token alone, or the JSON of "
            "a token endpoint"
        )
    if expires_at is None:
        expires_at = _expiry_of_jwt(text)
    if expires_at is None:
        return Token(text, None, None)
    if expires_at <= now:
        raise TokenCommandFailed(f"the token command {command} has printed a token that has expired")
    return Token(text, now + RENEWED_AFTER * (expires_at - now), expires_at)


def _expiry_of_jwt(token: str) -> float | None:
    # Here, because most processes have no tokens, and it takes a twentieth of their start.
    import jwt  # noqa: PLC0415

    try:
        # The broker checks it; here it is only asked how long it is good for.
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    expiry = claims.get("exp")
    return float(expiry) if isinstance(expiry, int | float) else None
