"""What subjects of rate limits have taken, shared by all gateways."""

import hashlib
from typing import Final

from store.redis import scripts
from store.redis.client import PipelinedClient
from topics.names import IN_REDIS

_MOST_WINDOWS: Final = 2
"""A backlog counts up to so many windows: gateways know of each other late, and may allow more than one."""
_HASH_BYTES: Final = 16
_US: Final = 1_000_000


class SharedRates:
    """Notes what was taken. Redis has a hash of each subject, for as long as it counts."""

    def __init__(self, client: PipelinedClient) -> None:
        self._client: Final = client

    async def add(self, policy: str, subject: str, taken_s: float, window_s: float) -> float:
        """Add so many seconds to a subject's backlog; that of all gateways then. Raises StoreError."""
        taken_us, most_us = round(taken_s * _US), round(_MOST_WINDOWS * window_s * _US)
        backlog_us: int = await self._client.run(scripts.RATE, [_key(policy, subject)], [taken_us, most_us])
        return backlog_us / _US


def _key(policy: str, subject: str) -> bytes:
    digest = hashlib.blake2b(subject.encode(errors="surrogateescape"), digest_size=_HASH_BYTES)
    return f"{IN_REDIS}rate:{policy}:{digest.hexdigest()}".encode()
