"""Each check passes on a sound history and fails on the one fault it is there to see."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from carts.operations import Add as AddStep
from carts.operations import Change, Item, Step
from carts.operations import Remove as RemoveStep
from carts.operations import Set as SetStep
from tests.faults import checks
from tests.faults.arithmetic import expected_lines
from tests.faults.arrived import arrived
from tests.faults.checks import violations
from tests.faults.erasures import ERASURE_CHECKS
from tests.faults.history import (
    Add,
    Began,
    Clear,
    Command,
    Ended,
    Fail,
    Forgets,
    History,
    Invoke,
    Ok,
    Outcome,
    Record,
    Remove,
    Set,
    Unknown,
    operations,
    outages,
    read_history,
)
from tests.faults.order_checks import ORDER_CHECKS
from tests.faults.sick_gateway import a_sick_gateway_holds_back_nobody
from tests.faults.stores import Check, Copy, Published, Stores, copy_of
from tests.faults.versions import (
    a_wipe_takes_back_nothing_durable,
    conditions_held,
    reads_never_go_back,
    receipts_are_readable,
    versions_are_unique,
    versions_rise,
)

ADDS = "guest:adds"
MIXED = "guest:mixed"


def _step(command: Command) -> Step:
    match command:
        case Add():
            return AddStep(
                command.line_id, command.quantity, command.unit_price, "EUR", Item(command.line_id)
            )
        case Set():
            return SetStep(command.line_id, command.quantity, 100, "EUR", Item(command.line_id))
        case Remove():
            return RemoveStep(command.line_id)
    raise ValueError(command)


def _change(cart_id: str, v: int, key: str, *commands: Command, prev: int = 0) -> Change:
    return Change(
        cart_id=cart_id,
        version=v,
        op_id=key,
        delta=tuple(_step(command) for command in commands),
        previous_version=prev,
        born=2,
    )


def _asked(op: int, at: int, cart_id: str, *commands: Command, if_match: str | None = None) -> Invoke:
    return Invoke(
        at=at, op=op, attempt=1, client=0, cart_id=cart_id, key=f"k{op}", commands=commands, if_match=if_match
    )


def _acknowledged(op: int, at: int, v: int, offset: int, durability: str = "kafka") -> Ok:
    receipt = (0, offset) if durability == "kafka" else None
    return Ok(at=at, op=op, attempt=1, version=f"{v}-{op}-0", durability=durability, receipt=receipt)


CHANGES = [
    _change(ADDS, 10, "k1", Add("a", 2, 100)),
    _change(ADDS, 20, "k2", Add("a", 3, 100), prev=10),
    _change(MIXED, 30, "k3", Add("b", 1, 100), Set("b", 7)),
    _change(MIXED, 40, "k4", Remove("b"), Add("c", 1, 100), prev=30),
]
HISTORY: list[Record] = [
    _asked(1, 1, ADDS, Add("a", 2, 100)),
    _acknowledged(1, 2, 10, 0),
    _asked(2, 3, ADDS, Add("a", 3, 100)),
    Unknown(at=4, op=2, attempt=1, reason="timeout"),
    _asked(3, 5, MIXED, Add("b", 1, 100), Set("b", 7)),
    _acknowledged(3, 6, 30, 2),
    _asked(4, 7, MIXED, Remove("b"), Add("c", 1, 100), if_match="30-3-0"),
    _acknowledged(4, 8, 40, 3, durability="redis"),
    _asked(5, 9, MIXED, Clear()),
    Fail(at=10, op=5, attempt=1, reason="precondition-failed"),
]
SOUND = arrived(CHANGES)


def _with(stores: Stores, **changes: object) -> Stores:
    return msgspec.structs.replace(stores, **changes)


def _more_pieces(copy: Copy) -> Copy:
    return msgspec.structs.replace(copy, lines={line: pieces + 1 for line, pieces in copy.lines.items()})


def test_a_sound_history_has_no_violations() -> None:
    assert violations(HISTORY, SOUND) == []


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_an_unknown_operation_may_be_missing(check: Check) -> None:
    never_done = [CHANGES[0], *CHANGES[2:]]
    history = [record for record in HISTORY if not isinstance(record, Ok)]
    assert check(history, arrived(never_done)) == []


@dataclass(frozen=True)
class Broken:
    """One thing that is wrong, the check that must see it, and what it must say."""

    check: Check
    says: str
    stores: Stores = SOUND
    history: Sequence[Record] = tuple(HISTORY)


ADDED, SET = SOUND.records[ADDS], SOUND.records[MIXED]
TWICE = [*CHANGES, _change(ADDS, 50, "k9", Add("a", 2, 100))]
RETRIED = [*HISTORY, _asked(9, 11, ADDS, Add("a", 2, 100)), Fail(at=12, op=9, attempt=1, reason="key-reused")]

BROKEN = {
    "an acknowledged operation is nowhere": Broken(
        checks.acknowledged_operations_are_there, "lost", arrived(CHANGES[1:])
    ),
    "an operation that only Redis acknowledged is nowhere, and Redis lost nothing": Broken(
        checks.acknowledged_operations_are_there, "lost", arrived(CHANGES[:3])
    ),
    "an operation is there with other steps": Broken(
        checks.acknowledged_operations_are_there,
        "garbled",
        arrived([_change(ADDS, 10, "k1", Add("a", 4, 100)), *CHANGES[1:]]),
    ),
    "a refused operation is there": Broken(
        checks.refused_operations_are_not_there, "done though refused", arrived(TWICE), RETRIED
    ),
    "an operation is there that nobody asked for": Broken(
        checks.every_entry_was_asked_for, "stranger", arrived(TWICE)
    ),
    "an add has no effect": Broken(
        checks.quantities_add_up,
        "lost",
        _with(SOUND, rows={ADDS: Copy(SOUND.rows[ADDS].version, {"a": 1})}),
    ),
    "a cart is gone from every store alike": Broken(
        checks.quantities_add_up, "lost", _with(SOUND, records={}, redis={}, rows={})
    ),
    "an add is applied twice": Broken(
        checks.quantities_add_up, "doubled", _with(SOUND, redis={ADDS: _more_pieces(SOUND.redis[ADDS])})
    ),
    "a line is there that nobody added": Broken(
        checks.quantities_add_up, "doubled", _with(SOUND, redis={ADDS: Copy("1-1-0", {"a": 5, "z": 1})})
    ),
    "a removed line is still there": Broken(
        checks.lines_follow_from_the_requests,
        "doubled",
        _with(SOUND, rows={MIXED: Copy(SOUND.rows[MIXED].version, {"b": 7, "c": 1})}),
    ),
    "a note is not the last one": Broken(
        checks.the_rest_follows_from_the_requests,
        "garbled",
        _with(SOUND, rows={MIXED: msgspec.structs.replace(SOUND.rows[MIXED], metadata={"note": "old"})}),
    ),
    "something is saved for later that nobody has saved": Broken(
        checks.the_rest_follows_from_the_requests,
        "garbled",
        _with(SOUND, redis={MIXED: msgspec.structs.replace(SOUND.redis[MIXED], saved={"z": 1})}),
    ),
    "a line is missing": Broken(
        checks.lines_follow_from_the_requests,
        "lost",
        _with(SOUND, rows={MIXED: Copy(SOUND.rows[MIXED].version, {})}),
    ),
    "two operations have one version": Broken(
        versions_are_unique, "version twice", arrived([*CHANGES, _change(ADDS, 20, "k9")])
    ),
    "a later operation has a lower version": Broken(
        versions_rise,
        "version fell",
        history=[*HISTORY, _asked(9, 11, ADDS, Add("a", 2, 100)), _acknowledged(9, 12, 5, 4)],
        stores=arrived([*CHANGES, _change(ADDS, 5, "k9", Add("a", 2, 100))]),
    ),
    "a receipt names another operation": Broken(
        receipts_are_readable, "false receipt", _with(SOUND, published=SOUND.published[1:])
    ),
    "a receipt names an offset with something else": Broken(
        receipts_are_readable,
        "false receipt",
        _with(SOUND, published=[Published(0, 0, CHANGES[1]), *SOUND.published[1:]]),
    ),
    "a conditional operation was made on another version": Broken(
        conditions_held,
        "condition broken",
        arrived([*CHANGES[:3], _change(MIXED, 40, "k4", Remove("b"), Add("c", 1, 100), prev=36)]),
    ),
    "the topic folds to another cart": Broken(
        checks.folding_the_topic_gives_the_carts, "stores differ", _with(SOUND, published=SOUND.published[1:])
    ),
    "a cart is missing in carts": Broken(
        checks.folding_the_topic_gives_the_carts, "stores differ", _with(SOUND, records={ADDS: ADDED})
    ),
    "carts ends with an older state": Broken(
        checks.carts_end_with_the_highest,
        "carts fell back",
        _with(SOUND, records={ADDS: ADDED, MIXED: [*SET, SET[0]]}),
    ),
    "Postgres has an older version": Broken(
        checks.stores_are_equal, "stores differ", _with(SOUND, rows={**SOUND.rows, MIXED: copy_of(SET[0])})
    ),
    "Redis lacks a cart": Broken(
        checks.stores_are_equal, "stores differ", _with(SOUND, redis={ADDS: SOUND.redis[ADDS]})
    ),
    "Redis shows other lines under the same version": Broken(
        checks.stores_are_equal,
        "stores differ",
        _with(SOUND, redis={**SOUND.redis, ADDS: _more_pieces(SOUND.redis[ADDS])}),
    ),
    "an outbox is not empty": Broken(checks.nothing_is_left_over, "left over", _with(SOUND, outbox=1)),
    "a record was given up": Broken(checks.nothing_is_left_over, "left over", _with(SOUND, dead_letters=1)),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_the_check_sees_that(broken: Broken) -> None:
    found = broken.check(broken.history, broken.stores)
    assert {violation.what for violation in found} == {broken.says}


def test_every_check_has_been_seen_to_fail() -> None:
    elsewhere = {
        reads_never_go_back,
        a_wipe_takes_back_nothing_durable,
        a_sick_gateway_holds_back_nobody,
        *ORDER_CHECKS,
        *ERASURE_CHECKS,
    }
    assert {broken.check for broken in BROKEN.values()} | elsewhere == set(checks.CHECKS)


def test_what_only_redis_acknowledged_may_be_born_again_later() -> None:
    history: list[Record] = [
        _asked(1, 1, ADDS, Add("a", 2, 100)),
        _acknowledged(1, 2, 5, 0, durability="redis"),
        _asked(2, 3, ADDS, Add("a", 3, 100)),
        _acknowledged(2, 4, 20, 1),
        _asked(1, 5, ADDS, Add("a", 2, 100)),
        _acknowledged(1, 6, 30, 2),
    ]
    assert versions_rise(history, arrived([CHANGES[1], _change(ADDS, 30, "k1", Add("a", 2, 100))])) == []


def test_what_only_redis_acknowledged_may_go_with_redis() -> None:
    began = Began(at=20, fault="FLUSHALL", target="redis", forgets=Forgets.EVERYTHING)
    assert checks.acknowledged_operations_are_there([*HISTORY, began], arrived(CHANGES[:3])) == []


def test_requests_are_done_in_order_and_a_clear_spares_nothing() -> None:
    done: list[list[Command]] = [
        [Add("a", 1, 1), Add("b", 2, 1)],
        [Set("a", 9)],
        [Add("a", 1, 1), Remove("b")],
        [Clear(), Add("c", 3, 1)],
    ]
    assert expected_lines(enumerate(done[:3])) == {"a": 10}
    assert expected_lines(enumerate(done)) == {"c": 3}


def test_outcomes_say_what_the_client_may_rely_on() -> None:
    retried: list[Record] = [
        *HISTORY,
        _asked(6, 20, ADDS, Add("a", 1, 1)),
        Unknown(at=21, op=6, attempt=1, reason="reset"),
        _asked(6, 22, ADDS, Add("a", 1, 1)),
        Fail(at=23, op=6, attempt=2, reason="precondition-failed"),
    ]
    assert [operation.outcome for operation in operations(retried)] == [
        Outcome.ACKNOWLEDGED,
        Outcome.UNKNOWN,
        Outcome.ACKNOWLEDGED,
        Outcome.WEAK,
        Outcome.REFUSED,
        Outcome.UNKNOWN,
    ]


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    with History(tmp_path / "history.jsonl") as history:
        for record in HISTORY:
            history.write(record)
    assert read_history(tmp_path / "history.jsonl") == HISTORY


def test_an_outage_is_the_longest_silence_around_its_fault() -> None:
    oks: list[Record] = [
        record
        for op, at in enumerate((0, 100, 900, 1490, 2000, 2100), start=1)
        for record in (_asked(op, at, ADDS, Add("a", 1, 1)), _acknowledged(op, at, 2 * op, op))
    ]
    faults: list[Record] = [
        Began(at=150, fault="kill -9", target="redis"),
        Ended(at=200, fault="kill -9", target="redis"),
        Began(at=1500, fault="network cut", target="kafka"),
        Ended(at=1600, fault="network cut", target="kafka"),
    ]
    assert [(outage.fault, outage.silence_us) for outage in outages([*oks, *faults])] == [
        ("kill -9", 800),
        ("network cut", 510),
    ]
