"""Kinds of schedules with restorations that open after the tail: cold carts, late rows, warming."""

from typing import Final

from tests.model.kind import ANY, CHECKOUTS, CRASHES, DELETION, RESTORES, SINKS, WRITES, Kind
from tests.model.merge_kinds import ADDED, CART, FAULTS, MERGING, SAGA, TAKEN_BACK, of
from tests.model.world import Traits

_READS: Final = "view view read_row look_up look_up start_query "
_WARMS: Final = "warm warm warm move_warm kill_warm "
_TAIL: Final = (
    _READS + _WARMS + CRASHES + "sink sink " + SINKS + RESTORES + "restore restore kill_restore wipe "
)
_LANDS: Final = "fold:2 changelog_ack changelog_ack commit:1 sink sink "
"""A change goes all the way."""
_RESTORED: Final = "restore:4 restore:4 restore:4 "
_BORN: Final = "~2 write look_up publish acknowledge " + _LANDS
_BORN_ANY: Final = _BORN.replace("write", "write_any")
_COLD: Final = "~2 view ~1 write publish acknowledge " + _LANDS + "~1 wipe ~2 " + _RESTORED + "~2 "
"""A restoration that leaves the cart to its row."""
_ORDERED: Final = "~3 check_out checkout checkout checkout ~2 "
_ORDERED_AGAIN: Final = (
    _RESTORED
    + "~3 checkout checkout ~3 write look_up publish ~2 "
    + _LANDS
    + "~2 check_out checkout checkout checkout checkout ~4"
)
_EXPIRED: Final = "expire fold:2 changelog_ack "
_DELETED: Final = (
    "write_any write_any write publish publish acknowledge remove retry sweep_read sweep_publish look_up "
    "expire purge drop_expired drop_old_log compact "
)
_AFTER_DELETION: Final = "~5 " + _LANDS + "wipe ~2 " + _RESTORED + "~4 view look_up ~5"

_MERGE_TAIL: Final = of(
    "gu", CART + FAULTS + "view look_up read_row warm kill_restore wipe restore restore sink "
)
_WIPED: Final = "{0}.wipe {0}.restore:4 {0}.restore:4 {0}.restore:4 "

TAIL_KINDS: Final = {
    "tail": Kind(WRITES + _TAIL),
    "tail_all": Kind(ANY + _TAIL + "failover kill_sink wait follow"),
    "tail_adds": Kind(WRITES + _TAIL + "failover kill_sink wait"),
    "tail_zombie": Kind(
        WRITES + _TAIL + "commit move_worker move_worker zombie_folds zombie_folds zombie_flushes "
        "zombie_flushes reread move_sink frozen_sink"
    ),
    "tail_cold": Kind(WRITES + _TAIL + "wait", story=_BORN + _COLD + "look_up ~6 view look_up ~6"),
    "tail_cold_any": Kind(
        ANY + _TAIL + "wait failover",
        story=_BORN_ANY + _COLD.replace("write", "write_any") + "retry look_up ~6 view look_up ~8",
    ),
    "tail_again": Kind(
        WRITES + _TAIL + "failover",
        story=_BORN
        + "~3 wipe ~1 restore:4 ~2 restore:1 ~2 kill_restore ~2 "
        + _LANDS
        + "~2 "
        + _RESTORED
        + "~5 failover ~4",
    ),
    "tail_rows": Kind(
        WRITES + _TAIL + "rows_fall rows_fall kill_sink move_sink frozen_sink",
        story="~1 "
        + _BORN
        + "~3 write publish acknowledge "
        + _LANDS
        + "~2 wipe ~2 rows_fall ~2 "
        + _RESTORED
        + "~2 view look_up ~4 rows_fall ~3",
    ),
    "tail_expire": Kind(
        ANY + _TAIL + "expire expire drop_expired drop_expired view",
        story=_BORN_ANY
        + "~3 expire ~2 fold changelog_ack ~2 sink ~1 wipe ~2 "
        + _RESTORED
        + "~6 view look_up ~6",
    ),
    "tail_expire_late": Kind(
        ANY + _TAIL + "wait expire drop_expired drop_expired view rows_fall",
        story=_BORN_ANY + "~1 wipe " + _RESTORED + "~1 view ~2 " + _EXPIRED + "~3 follow ~3 look_up ~5",
    ),
    "tail_expire_drop": Kind(
        ANY + _TAIL + "wait expire drop_expired view",
        story=_BORN_ANY[3:]
        + "~1 wipe "
        + _RESTORED
        + "start_query ~1 view ~1 "
        + _EXPIRED
        + "~2 sink follow follow ~2 wait drop_expired look_up ~1 view ~3",
    ),
    "tail_expire_put_back": Kind(
        ANY + _TAIL + "wait expire drop_expired view rows_fall",
        story=_BORN_ANY[3:]
        + "~1 wipe "
        + _RESTORED
        + "~1 view ~1 "
        + _EXPIRED
        + "~2 sink follow follow ~2 wait drop_expired rows_fall:0 view look_up ~3",
    ),
    "tail_delete": Kind(
        _DELETED + _TAIL,
        Traits(deletes=True),
        DELETION + " " + _AFTER_DELETION,
    ),
    "tail_delete_late": Kind(
        _DELETED + _TAIL + "lose_offsets back_up put_back put_back kill_sink failover compact",
        Traits(deletes=True),
        DELETION + " drop_old_log compact " + _AFTER_DELETION,
    ),
    "tail_erase": Kind(
        ANY + _TAIL + "erase erase erase_again failover kill_sink",
        Traits(erases=True),
        _BORN_ANY + "~2 wipe ~1 erase fold:2 changelog_ack ~3 " + _RESTORED + "~3 view look_up ~5",
    ),
    "tail_heal": Kind(
        WRITES + _TAIL + "failover scan scan republish republish",
        Traits(heals=True),
        _BORN + _COLD + "~2 write look_up publish ~2 failover ~2 retry view look_up ~6 scan republish ~3",
    ),
    "tail_postgres": Kind(
        WRITES + "write_for_postgres write_for_postgres row_seen row_seen " + _TAIL + "failover rows_fall",
        Traits(evicts=True),
    ),
    "tail_order": Kind(WRITES + _TAIL + CHECKOUTS),
    "tail_order_cold": Kind(WRITES + _TAIL + CHECKOUTS, story=_BORN + _ORDERED + "wipe ~2 " + _ORDERED_AGAIN),
    "tail_order_rows": Kind(
        ANY + _TAIL + CHECKOUTS + " rows_fall failover",
        story=_BORN_ANY + _ORDERED + "rows_fall wipe ~2 " + _ORDERED_AGAIN,
    ),
    "tail_order_stale": Kind(
        WRITES + _TAIL + CHECKOUTS,
        story=_BORN[3:]
        + "check_out checkout:0 checkout:0 checkout:0 ~1 write publish acknowledge "
        + _LANDS
        + "~1 wipe "
        + _RESTORED
        + "~1 checkout:12 view look_up ~3 view look_up",
    ),
    "tail_inflight": Kind(
        WRITES + _TAIL,
        story="~2 write look_up publish acknowledge fold:0 changelog_ack ~2 sink write write ~1 wipe ~1 "
        "restore:4 ~1 publish publish fold:0 changelog_ack ~1 restore:4 restore:4 ~4",
    ),
    "tail_flush": Kind(
        WRITES + _TAIL + "commit zombie_flushes",
        story="write look_up publish fold:0 move_worker fold:0 write ~1 publish acknowledge fold:0 "
        "changelog_ack changelog_ack commit:1 ~1 sink:1 sink:1 sink:1 zombie_flushes ~1 wipe "
        "restore:4 restore:4 ~1 view look_up ~2 warm warm warm ~2",
    ),
    "tail_floor": Kind(
        ANY + _TAIL + "expire purge",
        Traits(deletes=True),
        "write look_up back_up publish fold changelog_ack expire fold changelog_ack sink sink wait_long:50 "
        "purge fold changelog_ack changelog_ack commit:1 commit:1 sink sink sink sink ~1 put_back "
        "sweep_read sweep_publish ~1 write look_up wipe restore:4 restore:4 ~4",
    ),
    "tail_ends": Kind(
        WRITES + _TAIL,
        story=_BORN
        + "write publish acknowledge ~1 wipe restore:0 restore:0 ~1 fold:2 changelog_ack changelog_ack "
        "commit:1 ~1 restore:4 restore:4 ~1 view look_up ~3",
    ),
    "tail_backup": Kind(WRITES + _TAIL + "back_up put_back failover wait wait"),
    "tail_merge": Kind(_MERGE_TAIL + 3 * SAGA, Traits(merges="sum"), MERGING),
    "tail_merge_cold": Kind(
        _MERGE_TAIL + 3 * SAGA,
        Traits(merges="sum"),
        ADDED
        + "~2 "
        + _WIPED.format("g")
        + "~2 m.begin:0 m.step m.step:4 ~2 m.step "
        + _WIPED.format("g")
        + _WIPED.format("u")
        + "g.write g.look_up ~1 "
        + MERGING,
    ),
    "tail_merge_rows": Kind(
        _MERGE_TAIL + of("gu", "rows_fall failover kill_sink") + 3 * SAGA,
        Traits(merges="sum"),
        TAKEN_BACK + " " + _WIPED.format("g") + "g.rows_fall g.view g.look_up g.write g.look_up ~4",
    ),
    "tail_merge_chaos": Kind(
        of("ghu", CART + FAULTS + "view look_up wipe restore restore sink") + 6 * SAGA, Traits(merges="sum")
    ),
    "tail_merge_order": Kind(
        _MERGE_TAIL + of("gu", CHECKOUTS) + 3 * SAGA,
        Traits(merges="sum"),
        f"{MERGING} {_WIPED.format('u')} u.check_out u.checkout:0 u.checkout:0 u.checkout:0 ~3 {MERGING}",
    ),
}
