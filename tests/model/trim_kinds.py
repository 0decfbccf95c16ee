"""Kinds of schedules in which idle carts are trimmed."""

from typing import Final

from tests.model.kind import ANY, CHECKOUTS, CRASHES, DELETION, FOLDS, RESTORES, SINKS, WRITES, Kind
from tests.model.merge_kinds import ADDED, CART, FAULTS, MERGING, SAGA, of
from tests.model.world import Traits

_TRIMS: Final = "look_up_time trim trim "
_LANDS: Final = "fold:2 changelog_ack changelog_ack "
_CARRIED: Final = "sink sink follow follow "
_TRIMMED: Final = "look_up_time trim " + _LANDS
_BORN: Final = "~3 write look_up publish acknowledge remove " + _LANDS + _CARRIED
_BORN_ANY: Final = _BORN.replace("write", "write_any")
_IDLES: Final = "wait:40 ~1 wait:40 "
_ANY_FAULT: Final = (
    ANY + CRASHES + "sink follow " + SINKS + RESTORES + "kill_restore kill_sink wipe failover evict "
)
"""Without waits: no cart idles so long that it may have been deleted, and its copies count as absent."""
_ORDER_FAULT: Final = _ANY_FAULT.replace("evict ", "")
_DELETED: Final = (
    "write_any write publish publish acknowledge remove retry sweep_read sweep_publish look_up expire expire "
    "purge sink follow "
)

TRIM_KINDS: Final = {
    "trim": Kind(
        WRITES + FOLDS + SINKS + _TRIMS + "wait",
        story=_BORN + "~4 " + _IDLES + "~2 " + _TRIMMED + "~4 " + _CARRIED + "~6",
    ),
    "trim_all": Kind(
        _ANY_FAULT + _TRIMS,
        Traits(evicts=True),
        _BORN_ANY + "~6 " + _IDLES + "~3 " + _TRIMMED + "~4 " + _CARRIED + "~8",
    ),
    "trim_adds": Kind(
        _ANY_FAULT.replace("write_any", "write") + _TRIMS,
        Traits(evicts=True),
        _BORN + "~6 " + _IDLES + "~3 " + _TRIMMED + "~4 " + _CARRIED + "~8",
    ),
    "trim_backlog": Kind(
        "write write publish publish acknowledge retry sweep_read sweep_publish failover remove look_up "
        "follow wait " + FOLDS + _TRIMS,
        story="~2 write look_up publish ~1 " + _LANDS + "~1 write kill_gateway write publish acknowledge "
        "remove "
        + _LANDS
        + "~2 "
        + _IDLES
        + "~1 "
        + _TRIMMED
        + "~1 sweep_read sweep_publish sweep_publish "
        + _LANDS
        + "~3",
    ),
    "trim_retry": Kind(
        WRITES + "failover retry look_up follow wait " + FOLDS + _TRIMS,
        story="~1 write look_up publish "
        + _LANDS
        + "~2 failover:0 ~1 retry look_up ~2 "
        + _TRIMMED
        + "~1 publish "
        + _LANDS
        + "~4",
    ),
    "trim_fork": Kind(
        "write publish acknowledge remove retry look_up fold changelog_ack sink follow wait "
        "failover sweep_read sweep_publish " + _TRIMS,
        story="~1 write look_up publish acknowledge remove " + _LANDS + _CARRIED + "write write publish:1 "
        "publish:0 acknowledge acknowledge remove remove ~1 fold:0 fold:0 changelog_ack changelog_ack "
        + _CARRIED
        + "~1 "
        + _IDLES
        + _TRIMMED
        + _CARRIED
        + "~5",
    ),
    "trim_zombie": Kind(
        WRITES
        + CRASHES
        + "move_worker zombie_folds zombie_flushes zombie_flushes reread follow follow "
        + SINKS
        + _TRIMS
        + "wait",
        story=_BORN
        + "~2 write publish acknowledge remove move_worker "
        + _LANDS
        + "~1 zombie_folds ~1 "
        + _CARRIED
        + "wait:35 wait:35 "
        + _TRIMMED
        + _CARRIED
        + "~1 zombie_flushes ~2 follow follow ~4",
    ),
    "trim_tail": Kind(
        _ANY_FAULT + "view read_row start_query warm warm rows_fall sink " + _TRIMS,
        Traits(evicts=True),
        _BORN_ANY + "~3 " + _IDLES + _TRIMMED + "~3 wipe ~2 restore:4 restore:4 restore:4 ~3 view look_up "
        "~4 " + _CARRIED + "~3 rows_fall ~4",
    ),
    "trim_expire": Kind(
        ANY + "expire expire failover evict sink look_up look_up " + CRASHES + SINKS + _TRIMS + "wait",
        Traits(evicts=True),
        _BORN_ANY
        + "~2 "
        + _IDLES
        + "~2 look_up_time ~1 write_any ~1 kill_gateway expire ~1 trim publish "
        + _LANDS
        + "~2 trim "
        + _LANDS
        + "~6",
    ),
    "trim_delete": Kind(
        _DELETED + CRASHES + RESTORES + "wipe failover back_up put_back look_up " + _TRIMS + "wait",
        Traits(deletes=True, evicts=True),
        _BORN_ANY + _IDLES + _TRIMMED + _CARRIED + DELETION + " ~4 " + _TRIMMED + "~5",
    ),
    "trim_erase": Kind(
        ANY + "erase erase erase_again failover sink follow " + CRASHES + SINKS + RESTORES + _TRIMS + "wait",
        Traits(erases=True),
        _BORN_ANY
        + "~1 back_up ~2 erase "
        + _LANDS
        + "~1 "
        + _CARRIED
        + _IDLES
        + _TRIMMED
        + _CARRIED
        + "~3 erase_again ~5",
    ),
    "trim_heal": Kind(
        WRITES + "wait failover scan republish " + CRASHES + SINKS + "skip " + _TRIMS,
        Traits(heals=True, skips=True, evicts=True),
        _BORN + "~4 " + _IDLES + _TRIMMED + "~2 scan republish ~5",
    ),
    "trim_order": Kind(
        _ORDER_FAULT + CHECKOUTS + " " + _TRIMS,
        story=_BORN_ANY
        + "~3 "
        + _IDLES
        + "~1 check_out checkout checkout ~1 "
        + _TRIMMED
        + "~1 "
        + _CARRIED
        + "~3 checkout checkout checkout ~2 recover_orders ~5",
    ),
    "trim_order_adds": Kind(
        _ORDER_FAULT.replace("write_any", "write") + CHECKOUTS + " " + _TRIMS,
        story=_BORN
        + "~3 "
        + _IDLES
        + "~1 check_out checkout checkout ~1 "
        + _TRIMMED
        + "~1 "
        + _CARRIED
        + "~3 checkout checkout checkout ~2 recover_orders ~5",
    ),
    "trim_order_late": Kind(
        "write publish acknowledge remove fold changelog_ack follow follow retry look_up failover checkout "
        "check_out recover_orders sink " + _TRIMS,
        story="write look_up publish acknowledge remove " + _LANDS + "sink sink follow follow write publish "
        "acknowledge remove " + _LANDS + "~1 " + _IDLES + _TRIMMED + "follow:1 follow:1 follow:1 ~1 "
        "check_out checkout:4 checkout:4 checkout:4 checkout:4 ~3 sink ~3",
    ),
    "trim_merge": Kind(
        of("gu", CART + FAULTS + _TRIMS + "wait") + SAGA,
        Traits(merges="sum"),
        ADDED + "u.write u.look_up u.publish u.fold:2 u.changelog_ack u.sink u.wait:40 g.wait:40 ~2 "
        "u.look_up_time u.trim u.fold:2 u.changelog_ack u.follow ~1 g.look_up_time g.trim g.fold:2 "
        "g.changelog_ack ~2 " + MERGING.removeprefix(ADDED) + " ~3",
    ),
}
