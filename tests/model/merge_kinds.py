"""Kinds of schedules with merges: of three carts, `m.` before what is done about the merges."""

from typing import Final

from tests.model.kind import Kind
from tests.model.world import Traits

CART: Final = (
    "write write publish publish acknowledge remove kill_gateway retry look_up fold fold fold changelog_ack "
    "changelog_ack commit sink sink follow "
)
FAULTS: Final = "kill_worker kill_sink sweep_read sweep_publish restore restore restore wipe failover "
SAGA: Final = "m.begin m.begin m.step m.step m.step m.step m.step m.step m.step m.step m.kill m.recover "
_CHECKOUT: Final = "check_out checkout checkout checkout checkout recover_orders "


def of(carts: str, actions: str) -> str:
    return " ".join(f"{cart}.{action}" for cart in carts for action in actions.split()) + " "


_TWO: Final = of("gu", CART + FAULTS) + 3 * SAGA
_LANDS: Final = "{0}.publish {0}.fold:2 {0}.changelog_ack {0}.changelog_ack {0}.sink {0}.sink "
ADDED: Final = "g.write g.look_up " + _LANDS.format("g")

MERGING: Final = (
    ADDED
    + "~2 m.begin:0 m.step m.step:4 ~2 m.step "
    + _LANDS.format("g")
    + "m.step:4 m.step:4 m.step ~3 m.step:4 m.step:4 "
    + _LANDS.format("u")
    + _LANDS.format("g")
    + "~4"
)
"""A merge in peace, with room for mishaps."""

TAKEN_BACK: Final = (
    ADDED
    + "~1 m.begin:0 m.step m.step:4 ~1 m.step m.step:4 m.step:4 m.step ~1 m.step:4 m.step:4 "
    + "g.failover g.failover g.write g.look_up g.acknowledge ~2 "
    + _LANDS.format("g")
    + _LANDS.format("u")
    + "~3"
)
"""A failover takes the claim back, and a write gets in."""

_LATE: Final = (
    ADDED
    + "~1 m.begin:0 m.step m.step:4 m.step m.step:4 m.step:4 m.step m.step:5 m.step:4 ~1 "
    + "u.publish u.fold:2 u.changelog_ack g.publish g.fold:2 g.changelog_ack u.failover:0 g.failover:0 "
    + "u.wait:40 ~1 u.write u.look_up u.publish u.wait:40 u.write u.publish u.fold:2 u.changelog_ack "
    + "u.changelog_ack g.fold:2 g.changelog_ack ~1 m.recover:0 m.recover:1 ~4"
)
"""A transfer is applied once more, long after its first time has left the window."""

_DEVICES: Final = (
    f"{ADDED} h.write h.look_up {_LANDS.format('h')} ~2 m.begin:0 m.begin:1 "
    + 3 * "m.step:0 m.step:1 "
    + f"~1 {_LANDS.format('g')} {_LANDS.format('h')} "
    + 5 * "m.step:4 m.step:5 "
    + "~4"
)
"""Two guests' carts at once."""

_OTHER: Final = {"g.": "h.", "begin:0": "begin:1"}


def _of_the_other(story: str) -> str:
    for old, new in _OTHER.items():
        story = story.replace(old, new)
    return story


_CHAIN: Final = "gh hu hg gu"
"""A session's cart goes into the next session's, and that one into the user's; and it tries to come back."""
_CIRCLE: Final = "gh hu ug hg uh gu"
"""Each into each: a cart that something goes into goes into another one itself."""

_CARRIED: Final = (
    "m.step:0 ~1 m.step:4 m.step:4 m.step:4 m.step:4 m.step:4 m.step:4 {0}.look_up "
    + _LANDS
    + "m.step:4 m.step:4 m.step:4 m.step:4 m.step:4 m.step:4 "
    + 2 * _LANDS
    + _LANDS.replace("{0}", "{1}")
)
_FIRST: Final = "m.begin:0 " + _CARRIED.format("g", "h")
_SECOND: Final = "m.begin:1 " + _CARRIED.format("h", "u")
_SESSIONS: Final = f"{ADDED} h.write h.look_up {_LANDS.format('h')} ~1 {_FIRST} ~3 {_SECOND} ~4"
"""One merge after the other, with room for mishaps."""

_LATE_SESSIONS: Final = (
    f"{ADDED} {_FIRST} h.write h.look_up {_LANDS.format('h')} {_SECOND} ~1 "
    "g.failover g.failover g.write g.look_up g.acknowledge ~1 "
    + _LANDS.format("g")
    + "~1 m.recover:1 h.failover m.recover:1 "
    + _LANDS.format("h")
    + _LANDS.format("u")
    + "~3"
)
"""A write gets into the first cart after all went on into the third."""

_QUIET_USER: Final = (
    of("gh", CART + FAULTS) + of("u", "fold changelog_ack sink follow kill_worker") + 3 * SAGA
)
"""The user's cart is as it was when the merges began."""

_QUIET_NEXT: Final = (
    of("g", CART + FAULTS)
    + of("h", CART.replace("write write", "") + FAULTS)
    + of("u", "fold changelog_ack sink follow kill_worker")
    + 3 * SAGA
)
"""So is the second guest's."""

MERGE_KINDS: Final = {
    "merge": Kind(_TWO, Traits(merges="sum"), MERGING),
    "merge_chaos": Kind(of("ghu", CART + FAULTS) + 6 * SAGA, Traits(merges="sum")),
    "merge_devices": Kind(of("ghu", CART + FAULTS) + 6 * SAGA, Traits(merges="sum"), _DEVICES),
    "merge_taken_back": Kind(_TWO, Traits(merges="sum"), TAKEN_BACK),
    "merge_late": Kind(_TWO, Traits(merges="sum"), _LATE),
    "merge_order": Kind(
        of("g", CART + "failover failover ") + of("u", CART + FAULTS + _CHECKOUT) + 3 * SAGA,
        Traits(merges="sum"),
        f"{MERGING} u.check_out u.checkout:0 u.checkout:0 u.checkout:0 ~3 {MERGING}",
    ),
    "merge_heal": Kind(
        of("gu", CART + FAULTS + "scan republish ") + 3 * SAGA,
        Traits(merges="sum", heals=True),
        TAKEN_BACK,
    ),
    "merge_guest_order": Kind(
        of("g", CART + "failover failover " + _CHECKOUT + _CHECKOUT) + of("u", CART) + 3 * SAGA,
        Traits(merges="sum"),
        ADDED
        + "~1 g.check_out g.checkout:0 ~1 m.begin:0 g.checkout:4 m.step ~1 m.step:4 m.step g.checkout:4 "
        + _LANDS.format("g")
        + "m.step:4 m.step:4 g.checkout:4 m.step m.step:4 ~2 g.checkout:4 m.step:4 "
        + _LANDS.format("g")
        + _LANDS.format("u")
        + "~4",
    ),
    "merge_max": Kind(
        _QUIET_USER, Traits(merges="max"), f"u.write u.look_up ~2 {TAKEN_BACK} {_of_the_other(MERGING)}"
    ),
    "merge_chain": Kind(of("ghu", CART + FAULTS) + 6 * SAGA, Traits(merges="sum", pairs=_CHAIN), _SESSIONS),
    "merge_chain_late": Kind(
        of("ghu", CART + FAULTS) + 6 * SAGA, Traits(merges="sum", pairs=_CHAIN), _LATE_SESSIONS
    ),
    "merge_chain_order": Kind(
        of("g", CART) + 2 * of("h", CART + "failover " + _CHECKOUT) + of("u", CART) + 4 * SAGA,
        Traits(merges="sum", pairs=_CHAIN),
        f"{ADDED} h.write h.look_up {_LANDS.format('h')} h.check_out ~1 h.checkout:0 ~1 {_FIRST} "
        f"h.checkout:4 h.check_out ~2 h.checkout:4 h.checkout:4 ~1 {_SECOND} h.checkout:4 h.checkout:4 ~4",
    ),
    "merge_circle": Kind(of("ghu", CART + FAULTS) + 8 * SAGA, Traits(merges="sum", pairs=_CIRCLE)),
    "merge_chain_max": Kind(
        _QUIET_NEXT,
        Traits(merges="max", pairs=_CHAIN),
        f"u.write u.look_up ~1 h.write h.look_up ~1 {_LATE_SESSIONS}",
    ),
    "merge_chain_keep": Kind(_QUIET_NEXT, Traits(merges="keep", pairs=_CHAIN), _LATE_SESSIONS),
    "merge_keep": Kind(_QUIET_USER, Traits(merges="keep"), f"~2 {TAKEN_BACK} {_of_the_other(MERGING)}"),
}
