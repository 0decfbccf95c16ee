"""What a process needs for its work and how that is: what its probes answer, the same for all processes."""

from enum import StrEnum

import msgspec

from runtime.redaction import redacted


class Health(StrEnum):
    """Of one thing that a process needs, and of the whole."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a process needs; `detail` says what is wrong and what that means."""

    status: Health
    detail: str | None = None


class Readiness(msgspec.Struct, frozen=True):
    """`ready` answers 200, `degraded` too (others are no better off), `not_ready` 503."""

    status: str
    checks: dict[str, Check]

    @property
    def ready(self) -> bool:
        """Whether the process does its work."""
        return self.status != "not_ready"


def judge(checks: dict[str, Check]) -> Readiness:
    """A failed check makes the process not ready, a degraded one keeps it ready."""
    statuses = {check.status for check in checks.values()}
    if Health.FAILED in statuses:
        return Readiness("not_ready", checks)
    return Readiness("degraded" if Health.DEGRADED in statuses else "ready", checks)


class Checks:
    """The checks of a process without HTTP routes of its own, as they are now; any thread may ask."""

    def __init__(self, **failed: str) -> None:
        """With those that fail at first: names, and what is wrong."""
        self._checks = {name: Check(Health.FAILED, detail) for name, detail in failed.items()}

    def ok(self, name: str) -> None:
        """Nothing is wrong with it."""
        self._set(name, Check(Health.OK))

    def degraded(self, name: str, detail: str) -> None:
        """Something is wrong with it, and the process does what it can; another one could do no more."""
        self._set(name, Check(Health.DEGRADED, redacted(detail)))

    def failed(self, name: str, detail: str) -> None:
        """The process does not do its work."""
        self._set(name, Check(Health.FAILED, redacted(detail)))

    def readiness(self) -> Readiness:
        """All of them, and what follows from them."""
        return judge(self._checks)

    def _set(self, name: str, check: Check) -> None:
        # Whoever asks meanwhile has the dictionary of before, and finds it whole.
        self._checks = self._checks | {name: check}
