"""A gateway that kills itself (-9) after a step of a checkout: `python -m tests.checkout.dying_gateway`.

CARTSTREAM_TEST_DIE_AFTER names the step; or it is `seed:probability`, then it may be after any step.
"""

import os
import random
import signal

from gateway.checkout.service import Steps
from gateway.main import run


def main() -> None:
    """Serve until dead."""
    wish = os.environ["CARTSTREAM_TEST_DIE_AFTER"]
    seed, _, probability = wish.partition(":")
    chance = random.Random(seed)

    async def between(self: Steps, step: str) -> None:  # noqa: ARG001
        if step == wish or (probability and chance.random() < float(probability)):
            os.kill(os.getpid(), signal.SIGKILL)

    Steps.between = between  # type: ignore[method-assign]
    run()


if __name__ == "__main__":
    main()
