"""The rate limits of a gateway: whose requests are counted by which policy, and what they are answered.

The headers RateLimit and RateLimit-Policy are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from sanic import Request

from gateway.http.problems import RATE_LIMITED, Problem, retry_after
from gateway.identity.principal import Kind, Principal
from gateway.metrics import Metrics
from gateway.rates.limiter import RateLimiter, Shared
from gateway.rates.policy import Policy, Taken
from gateway.rates.settings import RateSettings
from gateway.server.addresses import Addresses, peer_of
from gateway.server.heads import Head

_PROBES: Final = "/health/"


class Rates:
    """All policies that are on. Each check raises Problem when its quota is used up."""

    def __init__(
        self, settings: RateSettings, addresses: Addresses, shared: Shared, metrics: Metrics
    ) -> None:
        self.addresses: Final = addresses
        self._metrics: Final = metrics

        def limiter(name: str, quota: int) -> RateLimiter | None:
            policy = Policy.per_minute(name, quota)
            return None if policy is None else RateLimiter(policy, shared)

        self._address: Final = limiter("address", settings.rate_per_address)
        self.counts_addresses: Final = self._address is not None
        self._shopper: Final = limiter("shopper", settings.rate_per_shopper)
        self._service: Final = limiter("service", settings.rate_per_service)
        self._mint: Final = limiter("mint", settings.rate_of_mints)
        self._products: Final = limiter("products", settings.rate_of_products)

    def of_address(self, peer: str, head: Head) -> Taken | None:
        """What a request takes of its address's quota; None: it has none."""
        if self._address is None or head.target.startswith(_PROBES):
            return None
        client = self.addresses.client_of(peer, head.headers)
        return None if client is None else self._address.take(client)

    def check_caller(self, request: Request, caller: Principal) -> None:
        """Count a request of somebody known."""
        if caller.kind is Kind.SERVICE:
            self._check(request, self._service, _service_of(caller))
        elif caller.kind is Kind.GUEST or caller.kind is Kind.SHOPPER:
            self._check(request, self._shopper, caller.actor)

    def check_mint(self, request: Request, caller: Principal) -> None:
        """Count a guest cart, unless a service mints it."""
        if self._mint is not None and caller.kind is not Kind.SERVICE:
            peer = peer_of(request.transport)
            self._check(request, self._mint, self.addresses.client_of(peer, request.headers.items()))

    def check_product(self, request: Request, caller: Principal) -> None:
        """Count a product that is written."""
        self._check(request, self._products, _service_of(caller))

    def charge_products(self, caller: Principal, products: int) -> float:
        """Count products that an import has written; how many seconds it has to wait for that."""
        if self._products is None:
            return 0.0
        return self._products.charge(_service_of(caller), products).late_s

    def refused(self, taken: Taken) -> Problem:
        """Count a refusal; the problem that it is answered with."""
        self._metrics.rate_limited.labels(taken.policy.name).inc()
        return _problem(taken.policy, max(1, math.ceil(taken.again_s)))

    def _check(self, request: Request, limiter: RateLimiter | None, subject: str | None) -> None:
        if limiter is None or subject is None:
            return
        stream: Any = request.stream
        taken = limiter.take(subject)
        stream.taken.append(taken)
        if not taken.is_allowed:
            raise self.refused(taken)


def rate_headers(taken: Sequence[Taken]) -> dict[str, str]:
    """The headers that tell of quotas and what is left of them."""
    return {
        "ratelimit-policy": ", ".join(one.policy.header for one in taken),
        "ratelimit": ", ".join(one.header for one in taken),
    }


def _problem(policy: Policy, again_s: int) -> Problem:
    return Problem(
        RATE_LIMITED,
        f'The policy "{policy.name}" allows {policy.quota} in {policy.window_s} s; nothing was done. '
        "Send the request again after Retry-After, with the same Idempotency-Key if it has one.",
        headers=retry_after(again_s),
        extra={"violated-policies": [policy.name]},
    )


def _service_of(caller: Principal) -> str:
    """The service itself, for whomever it acts."""
    return (caller.actor or caller.kind.value).partition(" for ")[0]
