"""What a kind of schedule is."""

import msgspec

from tests.model.world import Traits


class Kind(msgspec.Struct, frozen=True):
    """The actions of a kind, repeated as often as they weigh, and what its checks must know."""

    actions: str
    traits: Traits = Traits()
    story: str = ""
    """Actions in order, for what chance alone would hardly meet; each happens almost always. `action:3`
    fixes the pick, `~14` is up to fourteen random actions. Played one to three times."""
