"""The look at the event loop goes on, whatever fails in it."""

from typing import Any

from gateway.server.admission import Admission
from gateway.server.pressure import Pressure
from tests.support.waiting import until


class Metrics:
    """Metrics that cannot be settled, but for the last time."""

    def __init__(self) -> None:
        self.looks = 0
        self.ends = False

    def settle(self) -> None:
        """Fails."""
        self.looks += 1
        if not self.ends:
            raise ValueError("no room")


async def test_a_look_that_fails_is_not_the_last() -> None:
    metrics: Any = Metrics()
    pressure = Pressure(Admission(1.0, 1), metrics, lambda: 0.0)
    pressure.start()
    await until(lambda: metrics.looks > 1, "looked again")
    metrics.ends = True
    pressure.stop()
