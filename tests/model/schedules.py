"""Kinds of schedules: which actions a history is drawn from, and how often."""

import random
import re

import msgspec

from tests.model.kind import (
    ANY,
    CHECKOUTS,
    CRASHES,
    DELETION,
    FOLDS,
    RESTORES,
    SINKS,
    WRITES,
    Kind,
)
from tests.model.merge_kinds import MERGE_KINDS
from tests.model.tail_kinds import TAIL_KINDS
from tests.model.trim_kinds import TRIM_KINDS
from tests.model.world import Traits

Schedule = list[tuple[str, int]]
"""Actions, each with a number below 64 that says which of several it means."""

PICKS = 64
_REST_BITS = 24
_RARE = frozenset({"wipe", "failover", "expire", "evict", "move_worker", "rows_fall"})

_OVERDUE_ACTIONS = "write write publish fold changelog_ack sink retry look_up acknowledge"
_OVERDUE = (
    "write look_up publish fold:2 changelog_ack sink write publish fold:2 changelog_ack sink ~2 "
    "check_out checkout:0 checkout:0 checkout:0 kill_checkout ~2 failover:0 retry look_up ~2 write retry "
    "publish publish fold:2 changelog_ack changelog_ack ~2 sink wait write ~3 fold:2 changelog_ack "
    "recover_orders ~2 publish fold:2 ~3 recover_orders"
)
"""An order that is subtracted long after it was placed; meanwhile what it bought is born again."""

_BEHIND_ACTIONS = "write publish fold changelog_ack retry look_up acknowledge recover_orders"
_BEHIND = (
    "write look_up publish acknowledge remove fold:2 changelog_ack sink ~1 write publish fold:2 "
    "changelog_ack sink ~1 sink check_out checkout:4 checkout:4 checkout:4 kill_checkout failover:0 ~1 retry "
    "publish fold:2 changelog_ack changelog_ack failover:0 wait ~1 write publish fold:2 changelog_ack "
    "recover_orders:1 ~2 publish fold:2 changelog_ack ~3 recover_orders:1"
)
"""The same where neither the row nor Redis knows of the second attempt any more, only the topics do."""

_OLD_ROW_ACTIONS = (
    "write publish fold changelog_ack sink follow retry look_up acknowledge remove checkout checkout "
    "check_out_again recover_orders open_checkout complete"
)
_OLD_ROW = (
    "write look_up publish fold:2 changelog_ack sink write ~1 publish fold:2 changelog_ack failover:0 ~1 "
    "check_out open_checkout checkout:4 checkout:4 checkout:4 ~2 checkout:4 write ~3 publish fold "
    "changelog_ack ~2 complete ~1 checkout:4 checkout:4 checkout:4 checkout:4 failover:0 ~4 sink"
)
"""A row that is behind is ordered: Redis has fallen back to it."""

_ELSEWHERE_ACTIONS = (
    "write publish fold changelog_ack sink follow retry look_up acknowledge remove checkout checkout "
    "kill_checkout failover wipe restore recover_orders complete complete check_out"
)
_ELSEWHERE = (
    "write look_up publish fold:2 changelog_ack sink open_checkout ~3 write publish fold:2 changelog_ack "
    "sink open_checkout ~4 complete complete checkout:4 checkout:4 checkout:4 checkout:4 ~6 checkout:4 "
    "checkout:4 sink complete ~4 checkout:4 checkout:4 checkout:4 write ~4 complete"
)
"""Whoever has the orders completes checkouts of overlapping lines, late and more than once."""

_BEHIND_THE_WINDOW_ACTIONS = (
    "write publish fold changelog_ack retry look_up acknowledge remove checkout kill_checkout recover_orders "
    "view"
)
_BEHIND_THE_WINDOW = (
    "write look_up publish acknowledge remove fold:2 changelog_ack sink ~1 check_out checkout:4 checkout:4 "
    "checkout:4 kill_checkout write publish acknowledge remove ~1 fold:2 changelog_ack wait:35 wait:35 ~1 "
    "write publish acknowledge remove ~1 recover_orders:1 view ~2 fold:2 changelog_ack sink:2 "
    "recover_orders:1 view ~3"
)
"""An order is subtracted while its row lacks what has left the window of Redis's copy."""

_RECORD_BY_RECORD = {
    "plain": Kind(WRITES + "publish acknowledge " + FOLDS + SINKS),
    "crash": Kind(WRITES + "wait kill_sweeper " + CRASHES + "changelog_refused kill_sink " + SINKS),
    "wipe": Kind(WRITES + CRASHES + SINKS + RESTORES + "kill_restore wipe"),
    "failover": Kind(WRITES + FOLDS + SINKS + "follow failover"),
    "all": Kind(
        WRITES
        + "write publish acknowledge look_up "
        + CRASHES
        + "kill_sink follow "
        + SINKS
        + RESTORES
        + "kill_restore wipe failover"
    ),
    "evict": Kind(
        WRITES + FOLDS + SINKS + "sink look_up evict failover wipe " + RESTORES, Traits(evicts=True)
    ),
    "mixed": Kind(ANY + CRASHES + SINKS + "follow restore restore wipe failover"),
    "skew": Kind(
        WRITES + "remove fold commit changelog_ack changelog_ack " + SINKS + "failover", Traits(skewed=True)
    ),
    "expire": Kind(
        WRITES + "look_up " + CRASHES + "sink expire failover wipe " + SINKS + RESTORES,
        Traits(evicts=True),
    ),
    "idle": Kind(
        "write_any write_any write_any publish publish publish remove retry sweep_read sweep_publish "
        "fold fold changelog_ack changelog_ack sink sink follow expire wait evict look_up look_up",
        Traits(evicts=True),
    ),
    "postgres": Kind(
        WRITES
        + "write_for_postgres write_for_postgres row_seen row_seen publish look_up "
        + CRASHES
        + "sink "
        "evict wipe failover " + SINKS + RESTORES,
        Traits(evicts=True),
    ),
    "postgres_again": Kind(
        "write write_for_postgres publish fold changelog_ack sink retry look_up acknowledge remove row_seen",
        story="~4 write_for_postgres look_up publish fold:2 changelog_ack changelog_ack sink sink ~1 "
        "failover:0 retry look_up publish ~1 row_seen row_seen ~4",
    ),
    "zombie": Kind(
        WRITES + CRASHES + "fold commit move_worker move_worker zombie_folds zombie_folds zombie_flushes "
        "zombie_flushes reread wipe " + SINKS + RESTORES
    ),
    "rewind": Kind(
        "write write write write wait publish publish publish acknowledge remove sweep_read sweep_publish "
        "sweep_publish lose_offsets " + CRASHES + "kill_worker follow look_up look_up"
    ),
    "backlog": Kind(
        "write write write write publish publish acknowledge retry sweep_read sweep_publish "
        "sweep_publish wait "
        "failover remove look_up follow " + FOLDS
    ),
    "mixall": Kind(
        ANY + "wait retry " + CRASHES + "sink follow restore restore wipe failover failover evict expire "
        "move_worker zombie_folds zombie_flushes reread " + SINKS,
        Traits(evicts=True),
    ),
    "heal": Kind(
        WRITES
        + "write publish acknowledge "
        + CRASHES
        + "follow wipe failover scan scan republish republish "
        + SINKS
        + RESTORES,
        Traits(heals=True),
    ),
    "skip": Kind(
        "write write write_any publish publish acknowledge remove remove kill_gateway retry sweep_read "
        "sweep_publish "
        "fold fold skip skip changelog_ack changelog_ack commit sink follow scan republish republish look_up",
        Traits(heals=True, skips=True),
    ),
    "skip_and_lose": Kind(
        "write_any write write publish publish acknowledge remove remove kill_gateway retry retry sweep_read "
        "sweep_publish fold fold skip skip changelog_ack changelog_ack commit kill_worker sink sink "
        "follow scan "
        "republish republish wait failover failover wipe evict restore restore restore look_up look_up",
        Traits(heals=True, skips=True, evicts=True),
    ),
    "delete": Kind(
        "write_any write_any write publish publish publish acknowledge acknowledge remove kill_gateway retry "
        "sweep_read sweep_publish kill_sink sink sink follow follow wipe failover look_up look_up "
        "look_up expire purge "
        "purge evict " + CRASHES + RESTORES,
        Traits(deletes=True, evicts=True),
        DELETION,
    ),
    "delete_late": Kind(
        "write_any write publish publish publish acknowledge acknowledge remove retry sweep_read "
        "sweep_publish "
        "sweep_publish commit lose_offsets kill_sink sink sink follow follow wipe failover back_up "
        "put_back put_back "
        "look_up look_up look_up expire purge purge drop_old_log compact compact " + CRASHES + RESTORES,
        Traits(deletes=True, evicts=True),
        DELETION + " drop_old_log compact ~5",
    ),
    "delete_zombie": Kind(
        "write write write_any publish publish publish acknowledge acknowledge remove sweep_read "
        "sweep_publish "
        "kill_worker kill_worker move_worker zombie_folds zombie_folds zombie_flushes reread sink sink "
        "follow follow "
        "look_up look_up expire purge purge drop_old_log compact compact " + CRASHES,
        Traits(deletes=True, evicts=True),
        DELETION + " drop_old_log compact ~5",
    ),
    "order": Kind(
        WRITES
        + "write publish acknowledge retry "
        + CRASHES
        + SINKS
        + "follow restore restore wipe failover "
        "look_up " + CHECKOUTS,
    ),
    "order_mixed": Kind(
        ANY
        + "publish acknowledge retry "
        + CRASHES
        + SINKS
        + "follow restore restore wipe failover failover "
        + CHECKOUTS,
    ),
    "order_long": Kind(
        "write_any write_any write_any write wait publish publish acknowledge acknowledge remove retry "
        "sweep_read sweep_publish restore restore wipe failover look_up look_up " + FOLDS + SINKS + CHECKOUTS,
    ),
    "order_late": Kind(
        "write_any write_any write_any write_any publish publish fold fold changelog_ack "
        "changelog_ack failover "
        "failover look_up look_up follow sweep_read sweep_publish retry remove acknowledge "
        "check_out checkout "
        "checkout checkout checkout recover_orders",
    ),
    "order_twice": Kind(
        "write_any write publish fold changelog_ack follow sink retry look_up checkout recover_orders",
        story="write look_up publish fold:0 changelog_ack check_out checkout:0 checkout:0 checkout:0 "
        "kill_checkout write_any publish fold:0 ~2 changelog_ack check_out checkout:0 checkout:0 checkout:0 "
        "failover ~4 retry checkout recover_orders ~4",
    ),
    "order_overdue": Kind(
        _OVERDUE_ACTIONS.replace("write", "write_any"), story=_OVERDUE.replace("write", "write_any")
    ),
    "order_overdue_adds": Kind(_OVERDUE_ACTIONS, story=_OVERDUE),
    "order_behind": Kind(
        _BEHIND_ACTIONS.replace("write", "write_any"), story=_BEHIND.replace("write", "write_any")
    ),
    "order_behind_adds": Kind(_BEHIND_ACTIONS, story=_BEHIND),
    "order_old_row": Kind(
        _OLD_ROW_ACTIONS.replace("write", "write_any"), story=_OLD_ROW.replace("write", "write_any")
    ),
    "order_old_row_adds": Kind(_OLD_ROW_ACTIONS, story=_OLD_ROW),
    "order_fork": Kind(
        "publish acknowledge fold changelog_ack follow sink retry look_up checkout recover_orders",
        story="write look_up publish:0 fold:0 changelog_ack write_any failover:0 write publish:1 fold:0 "
        "changelog_ack check_out checkout:0 checkout:0 checkout:0 publish:0 fold:0 changelog_ack "
        "checkout:0 ~4",
    ),
    "order_behind_the_window": Kind(
        _BEHIND_THE_WINDOW_ACTIONS.replace("write", "write_any"),
        story=_BEHIND_THE_WINDOW.replace("write", "write_any"),
    ),
    "order_behind_the_window_adds": Kind(_BEHIND_THE_WINDOW_ACTIONS, story=_BEHIND_THE_WINDOW),
    "order_elsewhere": Kind(
        _ELSEWHERE_ACTIONS.replace("write", "write_any"), story=_ELSEWHERE.replace("write", "write_any")
    ),
    "order_elsewhere_adds": Kind(_ELSEWHERE_ACTIONS, story=_ELSEWHERE),
    "order_deleted": Kind(
        "write_any write publish publish acknowledge remove retry sweep_read sweep_publish sink sink follow "
        "restore look_up look_up expire purge failover back_up put_back " + CRASHES + CHECKOUTS,
        Traits(deletes=True, evicts=True),
        DELETION + " ~8",
    ),
    "erase": Kind(
        ANY
        + "write erase erase_again "
        + CRASHES
        + "sink follow "
        + SINKS
        + RESTORES
        + "kill_restore wipe failover failover",
        Traits(erases=True),
    ),
    "erase_all": Kind(
        ANY + "wait retry erase erase_again expire evict lose_offsets " + CRASHES + "sink follow restore "
        "restore wipe failover failover move_worker zombie_folds zombie_flushes reread " + SINKS,
        Traits(erases=True, evicts=True),
    ),
    "erase_ordered": Kind(
        ANY
        + "publish acknowledge retry erase erase_again "
        + CRASHES
        + SINKS
        + "follow restore restore wipe failover failover "
        + CHECKOUTS,
        Traits(erases=True),
    ),
    "erase_deleted": Kind(
        "write_any write publish publish acknowledge remove retry sweep_read sweep_publish sink sink follow "
        "restore look_up look_up expire purge erase erase_again failover back_up put_back " + CRASHES,
        Traits(erases=True, deletes=True, evicts=True),
        DELETION + " ~8",
    ),
    "late_sweeper": Kind(
        WRITES + FOLDS + SINKS,
        story="~1 write look_up publish failover:0 wait:15 retry look_up sweep_read failover:0 fold:0 "
        "changelog_ack "
        "follow wait:30 ~1 write look_up publish fold:0 sweep_publish fold:0",
    ),
    "late_removal": Kind(
        "write publish acknowledge remove fold changelog_ack sink follow look_up",
        Traits(skewed=True),
        story="write look_up ~2 write failover:24 publish:1 write acknowledge remove kill_gateway retry ~2",
    ),
    "late_flush": Kind(
        WRITES + "fold changelog_ack commit zombie_flushes sink follow",
        story="write look_up publish fold:0 move_worker fold:0 write ~1 publish fold:0 changelog_ack "
        "changelog_ack "
        "commit:1 zombie_flushes sink:1 sink:1 sink:1 ~2 kill_worker:0 reread ~2",
    ),
    "late_healing": Kind(
        "write publish acknowledge fold changelog_ack commit follow scan republish look_up",
        Traits(heals=True, skips=True, evicts=True),
        story="write look_up publish failover:0 wait:15 retry look_up publish acknowledge remove fold:0 "
        "skip wait:25 ~1 "
        "write look_up publish fold:0 scan republish fold:0 ~2",
    ),
    "late_write": Kind(
        "write publish acknowledge fold changelog_ack commit sink follow look_up",
        Traits(evicts=True),
        story="write look_up publish fold:0 ~1 write kill_gateway write expire publish failover:1 "
        "fold:2 ~3 wait",
    ),
    "idle_backlog": Kind(
        "write publish acknowledge remove fold changelog_ack commit sink follow look_up",
        Traits(evicts=True),
        story="~2 write look_up publish fold:0 write write write kill_gateway kill_gateway wait:62 ~1 "
        "expire fold:0 "
        "sweep_read sweep_publish sweep_publish sweep_publish fold:2 ~2",
    ),
    **MERGE_KINDS,
    **TAIL_KINDS,
    **TRIM_KINDS,
}


def _in_runs(kind: Kind) -> Kind:
    """The same, where compaction takes several records for one."""
    actions, story = (re.sub(r"\bfold\b", "fold_run", words) for words in (kind.actions, kind.story))
    return msgspec.structs.replace(kind, actions=actions, story=story)


KINDS = {
    **_RECORD_BY_RECORD,
    **{
        f"runs_{name}": _in_runs(_RECORD_BY_RECORD[name])
        for name in ("mixall", "delete", "delete_zombie", "trim_all")
    },
}


def schedule_of(kind: str, seed: int) -> tuple[Schedule, int]:
    """The schedule of a seed, and bits that say who insists while everything comes to rest."""
    source = random.Random(f"{kind}/{seed}")
    actions = KINDS[kind].actions.split()
    told = KINDS[kind].story
    schedule = _tell(source, told.split(), actions) if told else _stream(source, actions)
    return schedule, source.getrandbits(_REST_BITS)


def _stream(source: random.Random, actions: list[str]) -> Schedule:
    length = source.randint(6, 70)
    if source.random() < 0.3:
        actions = [*actions, "wait"]
    schedule: Schedule = []
    while len(schedule) < length:
        action = source.choice(actions)
        if action.rpartition(".")[2] in _RARE and source.random() < 0.5:
            continue
        schedule.append((action, source.randrange(PICKS)))
    return schedule


def _tell(source: random.Random, story: list[str], actions: list[str]) -> Schedule:
    schedule: Schedule = []
    for _ in range(source.randint(1, 3)):
        for word in story:
            action, _, pick = word.partition(":")
            if action.startswith("~"):
                most = source.randint(0, int(action[1:]))
                schedule += [(source.choice(actions), source.randrange(PICKS)) for _ in range(most)]
            elif source.random() < 0.95:
                schedule.append((action, int(pick or source.randrange(PICKS))))
    return schedule
