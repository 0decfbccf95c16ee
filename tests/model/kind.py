"""What a kind of schedule is, and the phrases that kinds are made of."""

from typing import Final

import msgspec

from tests.model.world import Traits


class Kind(msgspec.Struct, frozen=True):
    """The actions of a kind, repeated as often as they weigh, and what its checks must know."""

    actions: str
    traits: Traits = Traits()
    story: str = ""
    """Actions in order, for what chance alone would hardly meet; each happens almost always. `action:3`
    fixes the pick, `~14` is up to fourteen random actions. Played one to three times."""


WRITES: Final = (
    "write write write publish publish acknowledge remove kill_gateway retry "
    "sweep_read sweep_publish look_up "
)
ANY: Final = (
    "write_any write_any write_any write_any publish publish acknowledge remove kill_gateway retry "
    "sweep_read "
    "sweep_publish look_up look_up "
)
FOLDS: Final = "fold fold changelog_ack changelog_ack commit "
CRASHES: Final = "fold fold fold changelog_ack changelog_ack commit kill_worker "
SINKS: Final = "sink follow "
RESTORES: Final = "restore restore restore "

DELETION: Final = (
    "~14 write look_up publish fold changelog_ack commit ~5 fold expire fold changelog_ack changelog_ack "
    "commit fold "
    "sink sink sink follow follow follow ~3 wait_long ~2 fold changelog_ack changelog_ack commit purge ~6 "
    "fold changelog_ack changelog_ack ~10"
)

CHECKOUTS: Final = (
    "check_out check_out check_out_again checkout checkout checkout checkout checkout checkout "
    "kill_checkout recover_orders"
)
