"""Rows of carts that nobody can read, which a job passes over in every round."""

from typing import Any, Final

import structlog

from jobs import metrics

log = structlog.get_logger(__name__)

MOST: Final = 10_000
"""How many are remembered. More are neither counted nor named, until some of these can be read."""


class UnreadableRows:
    """Names each in the log once, for as long as every round meets it, and counts them in a gauge."""

    def __init__(self, job: str, event: str) -> None:
        self._job: Final = job
        self._event: Final = event
        self._named: set[str] = set()
        self._met: set[str] = set()

    def met(self, key: str, error: str, **fields: Any) -> None:
        """Note a row: what identifies it, why it cannot be read, and fields for the log."""
        if len(self._met) >= MOST:
            return
        if key not in self._named:
            self._named.add(key)
            log.error(self._event, error=error, **fields)
        self._met.add(key)

    def end_round(self) -> None:
        """All rows have been looked at; those not met since the last call can be read, or are gone."""
        metrics.UNREADABLE_ROWS.labels(self._job).set(len(self._met))
        self._named, self._met = self._met, set()
