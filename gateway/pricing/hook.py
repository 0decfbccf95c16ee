"""The pricing hook: a shop's own rules over HTTP, bounded in time, and free of charge while it is dead."""

from typing import Final

import aiohttp
import msgspec
import structlog

from carts.limits import MAX_SAFE_INTEGER
from carts.view import CartView
from gateway.metrics import Metrics
from gateway.pricing.service import HookAnswer
from gateway.resilience.breaker import Breaker

log = structlog.get_logger(__name__)

_ANSWER_BYTES: Final = 64 * 1024
_FAILURES_TO_OPEN: Final = 3
"""One failure may be a connection that had been closed while idle."""
_CONNECTIONS: Final = 100
_NUL_ESCAPE: Final = b"\\u0000"


class _BadAnswer(Exception):
    """The hook answered something else than 200 with an HookAnswer."""


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(HookAnswer)


class PricingHook:
    """Posts carts to one URL. Belongs to one event loop; `open` before the first `ask`."""

    def __init__(self, url: str, timeout_s: float, metrics: Metrics) -> None:
        self._url: Final = url
        self._timeout: Final = aiohttp.ClientTimeout(total=timeout_s)
        self._outcomes: Final = metrics.pricing_hook_requests
        self._breaker: Final = Breaker(metrics.pricing_hook_breaker_open, of="pricing")
        self._failures = 0
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool; nothing is connected yet."""
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, connector=aiohttp.TCPConnector(limit=_CONNECTIONS)
        )

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, cart: CartView) -> HookAnswer | None:
        """The hook's adjustments and warnings; None if it does not answer in time, or not well.

        After some failures in a row it is not asked, except once a second to learn whether it is back.
        """
        if self._session is None or not self._breaker.lets_through():
            self._outcomes.labels("skipped").inc()
            return None
        try:
            answer = await self._post(self._session, cart)
        except (
            aiohttp.ClientError,
            TimeoutError,
            msgspec.DecodeError,
            UnicodeDecodeError,
            RecursionError,
            _BadAnswer,
        ) as error:
            self._failed(error)
            return None
        self._outcomes.labels("answered").inc()
        self._failures = 0
        self._breaker.succeeded()
        return answer

    async def _post(self, session: aiohttp.ClientSession, cart: CartView) -> HookAnswer:
        headers = {"content-type": "application/json"}
        # A redirection would take the cart to an address that nobody has set.
        async with session.post(
            self._url, data=_ENCODER.encode(cart), headers=headers, allow_redirects=False
        ) as reply:
            if reply.status != 200:  # noqa: PLR2004
                raise _BadAnswer(f"status {reply.status}")
            body = bytearray()
            async for chunk in reply.content.iter_any():
                body += chunk
                if len(body) > _ANSWER_BYTES:
                    raise _BadAnswer(f"more than {_ANSWER_BYTES} bytes")
        answer = _DECODER.decode(body)
        if sum(abs(adjustment.amount) for adjustment in answer.adjustments) > MAX_SAFE_INTEGER:
            raise _BadAnswer("amounts beyond 2^53")
        # An order keeps it, and Postgres keeps no such character.
        if _NUL_ESCAPE in _ENCODER.encode(answer):
            raise _BadAnswer("the character U+0000")
        return answer

    def _failed(self, error: Exception) -> None:
        self._outcomes.labels("failed").inc()
        self._failures += 1
        if self._failures >= _FAILURES_TO_OPEN:
            self._breaker.failed()
        if self._failures <= _FAILURES_TO_OPEN:
            log.warning("pricing.failed", error=repr(error))
