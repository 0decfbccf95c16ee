"""A stack that is watched, to be brought into trouble and out of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from devstack.embedded import EmbeddedStack
from tests.alerts.prometheus import Prometheus
from tests.alerts.runbooks import OnCall
from tests.support.waiting import until_blocking

_PATIENCE_S: Final = 240.0


class Scene:
    """The stack, its Prometheus, and whoever is on call."""

    def __init__(self, stack: EmbeddedStack, watching: Prometheus, on_call: OnCall, folder: Path) -> None:
        self.stack: Final = stack
        self.watching: Final = watching
        self.on_call: Final = on_call
        self.folder: Final = folder

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """An HTTP client of the gateway."""
        with httpx.Client(base_url=self.stack.urls.gateway, timeout=60, verify=False) as http:
            yield http

    def until_silent(self) -> None:
        """Returns once no alert fires, and the gateway has been seen to answer."""
        try:
            until_blocking(lambda: self._answers() and not self._firing(), "silent", _PATIENCE_S, 0.5)
        except AssertionError as error:
            raise AssertionError(f"these still fire: {self.watching.alerts()}") from error

    def until_fires(self, alert: str) -> None:
        """Returns once the alert fires."""
        until_blocking(lambda: alert in self._firing(), f"{alert} fires", _PATIENCE_S, 0.5)

    def goes_through(self, alert: str, trouble: Callable[[], None]) -> None:
        """All is silent; in the trouble the alert fires; what its runbook commands makes all silent."""
        self.until_silent()
        trouble()
        self.until_fires(alert)
        self.on_call.follow(alert)
        self.until_silent()

    def _firing(self) -> set[str]:
        return self.watching.firing()

    def _answers(self) -> bool:
        rate = self.watching.value('sum(rate(cartstream_gateway_request_seconds_count{status="2xx"}[20s]))')
        return rate is not None and rate > 0
