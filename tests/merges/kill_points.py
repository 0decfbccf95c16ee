"""Where a merge may be killed: around what its collaborators do for it, step by step.

CARTSTREAM_TEST_DIE_AFTER names the step; or it is `seed:probability`, then it may be after any step.
"""

import os
import random
import signal
from collections.abc import Callable
from typing import Final

from gateway.checkout.delivery import CartDelivery
from store.postgres import merges
from store.redis import CartStore
from streams.merge_carts import AwaitedCarts
from tests.checkout.kill_points import KillPoint, install

POINTS: Final = (
    # Within the transaction, as the row of a transfer.
    KillPoint("row of the merge", merges, "begin"),
    # Each of the three operations: the claim, the transfer in, the transfer out.
    KillPoint("before an operation", CartStore, "merge", is_before=True),
    KillPoint("operation in Redis", CartStore, "merge"),
    KillPoint("delivered", CartDelivery, "deliver"),
    KillPoint("waited for", AwaitedCarts, "deliver"),
    KillPoint("published", CartDelivery, "publish"),
    KillPoint("row of a transfer", merges, "insert"),
    KillPoint("version noted", merges, "note_version"),
    KillPoint("before the end", merges, "finish", is_before=True),
)
OF_GATEWAYS: Final = tuple(point.step for point in POINTS if point.owner is not AwaitedCarts)
OF_AGENTS: Final = tuple(
    point.step for point in POINTS if point.owner is not CartDelivery and point.step != "row of the merge"
)


def serve_until_dead(run: Callable[[], None]) -> None:
    """Run a process that kills itself. `step#2` is the second time that the step is done."""
    chosen = os.environ["CARTSTREAM_TEST_DIE_AFTER"]
    seed, _, probability = chosen.partition(":")
    step_chosen, _, times = chosen.partition("#")
    left = int(times or 1)
    chance = random.Random(seed)

    def may_die(step: str) -> None:
        nonlocal left
        left -= step == step_chosen
        if (step == step_chosen and not left) or (probability and chance.random() < float(probability)):
            os.kill(os.getpid(), signal.SIGKILL)

    install(may_die, points=POINTS)
    run()
