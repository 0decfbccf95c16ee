"""A gateway that kills itself (-9) after a step of a checkout: `python -m tests.checkout.dying_gateway`.

CARTSTREAM_TEST_DIE_AFTER names the step; or it is `seed:probability`, then it may be after any step.
"""

import os
import random
import signal

from gateway.main import run
from tests.checkout.kill_points import install


def main() -> None:
    """Serve until dead."""
    chosen = os.environ["CARTSTREAM_TEST_DIE_AFTER"]
    seed, _, probability = chosen.partition(":")
    chance = random.Random(seed)

    def may_die(step: str) -> None:
        if step == chosen or (probability and chance.random() < float(probability)):
            os.kill(os.getpid(), signal.SIGKILL)

    install(may_die)
    run()


if __name__ == "__main__":
    main()
