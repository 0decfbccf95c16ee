"""Kinds of schedules: which actions a history is drawn from, and how often."""

import random

import msgspec

from tests.model.world import Traits

Schedule = list[tuple[str, int]]
"""Actions, each with a number below 64 that says which of several it means."""

PICKS = 64
_REST_BITS = 24
_RARE = frozenset({"wipe", "failover", "expire", "evict", "move_worker"})


class Kind(msgspec.Struct, frozen=True):
    """The actions of a kind, repeated as often as they weigh, and what its checks must know."""

    actions: str
    traits: Traits = Traits()
    phased: bool = False
    """Histories that live long enough to see carts deleted: write, expire, wait, purge, race, again."""


_WRITES = "write write write publish publish acknowledge remove kill_gateway retry sweep_read sweep_publish look_up "
_ANY = "write_any write_any write_any write_any publish publish acknowledge remove kill_gateway retry sweep_read " \
    "sweep_publish look_up look_up "
_FOLDS = "fold fold changelog_ack changelog_ack commit "
_CRASHES = "fold fold fold changelog_ack changelog_ack commit kill_worker "
_SINKS = "sink follow "
_RESTORES = "restore restore restore "

KINDS = {
    "plain": Kind(_WRITES + "publish acknowledge " + _FOLDS + _SINKS),
    "crash": Kind(_WRITES + "wait kill_sweeper " + _CRASHES + "changelog_refused kill_sink " + _SINKS),
    "wipe": Kind(_WRITES + _CRASHES + _SINKS + _RESTORES + "kill_restore wipe"),
    "failover": Kind(_WRITES + _FOLDS + _SINKS + "follow failover"),
    "all": Kind(
        _WRITES + "write publish acknowledge look_up " + _CRASHES + "kill_sink follow " + _SINKS + _RESTORES
        + "kill_restore wipe failover"
    ),
    "evict": Kind(
        _WRITES + _FOLDS + _SINKS + "sink look_up evict failover wipe " + _RESTORES, Traits(evicts=True)
    ),
    "mixed": Kind(_ANY + _CRASHES + _SINKS + "follow restore restore wipe failover"),
    "skew": Kind(_WRITES + "remove fold commit changelog_ack changelog_ack " + _SINKS + "failover", Traits(skewed=True)),
    "expire": Kind(
        _WRITES + "look_up " + _CRASHES + "sink expire failover wipe " + _SINKS + _RESTORES, Traits(evicts=True)
    ),
    "idle": Kind(
        "write_any write_any write_any publish publish publish remove retry sweep_read sweep_publish "
        "fold fold changelog_ack changelog_ack sink sink follow expire wait evict look_up look_up",
        Traits(evicts=True),
    ),
    "postgres": Kind(
        _WRITES + "write_for_postgres write_for_postgres row_seen row_seen publish look_up " + _CRASHES + "sink "
        "evict wipe failover " + _SINKS + _RESTORES,
        Traits(evicts=True),
    ),
    "zombie": Kind(
        _WRITES + _CRASHES + "fold commit move_worker move_worker zombie_folds zombie_folds zombie_flushes "
        "zombie_flushes reread wipe " + _SINKS + _RESTORES
    ),
    "rewind": Kind(
        "write write write write wait publish publish publish acknowledge remove sweep_read sweep_publish "
        "sweep_publish lose_offsets " + _CRASHES + "kill_worker follow look_up look_up"
    ),
    "backlog": Kind(
        "write write write write publish publish acknowledge retry sweep_read sweep_publish sweep_publish wait "
        "failover remove look_up follow " + _FOLDS
    ),
    "mixall": Kind(
        _ANY + "wait retry " + _CRASHES + "sink follow restore restore wipe failover failover evict expire "
        "move_worker zombie_folds zombie_flushes reread " + _SINKS,
        Traits(evicts=True),
    ),
    "heal": Kind(
        _WRITES + "write publish acknowledge " + _CRASHES + "follow wipe failover scan scan republish republish "
        + _SINKS + _RESTORES,
        Traits(heals=True),
    ),
    "skip": Kind(
        "write write write_any publish publish acknowledge remove remove kill_gateway retry sweep_read sweep_publish "
        "fold fold skip skip changelog_ack changelog_ack commit sink follow scan republish republish look_up",
        Traits(heals=True, skips=True),
    ),
    "skip_and_lose": Kind(
        "write_any write write publish publish acknowledge remove remove kill_gateway retry retry sweep_read "
        "sweep_publish fold fold skip skip changelog_ack changelog_ack commit kill_worker sink sink follow scan "
        "republish republish wait failover failover wipe evict restore restore restore look_up look_up",
        Traits(heals=True, skips=True, evicts=True),
    ),
    "delete": Kind(
        "write_any write_any write publish publish publish acknowledge acknowledge remove kill_gateway retry "
        "sweep_read sweep_publish kill_sink sink sink follow follow wipe failover look_up look_up look_up expire purge "
        "purge evict " + _CRASHES + _RESTORES,
        Traits(deletes=True, evicts=True),
        phased=True,
    ),
    "delete_late": Kind(
        "write_any write publish publish publish acknowledge acknowledge remove retry sweep_read sweep_publish "
        "sweep_publish commit lose_offsets kill_sink sink sink follow follow wipe failover back_up put_back put_back "
        "look_up look_up look_up expire purge purge drop_old_log compact compact " + _CRASHES + _RESTORES,
        Traits(deletes=True, evicts=True),
        phased=True,
    ),
    "delete_zombie": Kind(
        "write write write_any publish publish publish acknowledge acknowledge remove sweep_read sweep_publish "
        "kill_worker kill_worker move_worker zombie_folds zombie_folds zombie_flushes reread sink sink follow follow "
        "look_up look_up expire purge purge drop_old_log compact compact " + _CRASHES,
        Traits(deletes=True, evicts=True),
        phased=True,
    ),
}


def schedule_of(kind: str, seed: int) -> tuple[Schedule, int]:
    """The schedule of a seed, and bits that say who insists while everything comes to rest."""
    source = random.Random(f"{kind}/{seed}")
    actions = KINDS[kind].actions.split()
    schedule = _phases(source, actions) if KINDS[kind].phased else _stream(source, actions)
    return schedule, source.getrandbits(_REST_BITS)


def _stream(source: random.Random, actions: list[str]) -> Schedule:
    length = source.randint(6, 70)
    if source.random() < 0.3:
        actions = [*actions, "wait"]
    schedule: Schedule = []
    while len(schedule) < length:
        action = source.choice(actions)
        if action in _RARE and source.random() < 0.5:
            continue
        schedule.append((action, source.randrange(PICKS)))
    return schedule


def _phases(source: random.Random, actions: list[str]) -> Schedule:
    def some(most: int) -> Schedule:
        return [(source.choice(actions), source.randrange(PICKS)) for _ in range(source.randint(0, most))]

    def steps(names: str) -> Schedule:
        return [(name, source.randrange(PICKS)) for name in names.split() if source.random() < 0.93]

    schedule: Schedule = []
    for _ in range(source.randint(1, 3)):
        schedule += some(14) + steps("write look_up publish fold changelog_ack commit") + some(5)
        schedule += steps("fold expire fold changelog_ack changelog_ack commit fold sink sink sink follow follow follow")
        schedule += [*some(3), ("wait_long", source.randrange(30, PICKS)), *some(2)]
        schedule += steps("fold changelog_ack changelog_ack commit purge") + some(6)
        schedule += steps("fold changelog_ack changelog_ack") + some(10)
        if source.random() < 0.5:
            schedule += [("drop_old_log", 0), ("compact", 0), *some(5)]
    return schedule
