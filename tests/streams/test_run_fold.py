"""A run folded at once says what its records say one by one: table, last record of each key, refusals."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import msgspec
import pytest
from aiokafka import ConsumerRecord

from carts.fold import Verdict
from carts.operations import (
    Add,
    Change,
    Clear,
    Erase,
    Expire,
    Item,
    Purge,
    Remove,
    Seed,
    Set,
    SetMetadata,
    Step,
    Void,
)
from carts.state import State
from streams.decisions import ChangeSource, Emission, Rules, decide
from streams.run_fold import FoldedRun, fold_run
from topics.codec import decode_state, encode_change
from topics.registry import CART_CHANGED

PARTITION = 7
SECOND_US = 1_000_000
RETENTION_US = 60 * SECOND_US
NOW_US = 1_764_061_200 * SECOND_US
GARBAGE = b"not a cart"

Table = dict[bytes, bytes]


class Tale:
    """Records for a few carts of one partition, and what comes of them when they are taken one by one."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        self.carts = [f"user:{number}" for number in range(dice.choice([1, 2, 5]))]
        self.rules = Rules(
            retention_us=RETENTION_US, max_bytes=dice.choice([900, 2_500, 6_000, 20_000, 1 << 20])
        )
        self.first: Table = {b"user:0": GARBAGE} if dice.random() < 0.1 else {}
        self.records: list[ConsumerRecord] = []
        self.table: Table = dict(self.first)
        self.floor = 0
        self.last: dict[bytes, Emission] = {}
        self.refused: list[tuple[int, str, str]] = []
        self.verdicts: Counter[Verdict] = Counter()
        self._now_us = NOW_US
        self._changes: list[Change] = []
        for _ in range(dice.choice([3, 12, 40])):
            self._take(*self._event())

    def _take(self, key: bytes, value: bytes | None) -> None:
        offset = len(self.records)
        record = ConsumerRecord(
            CART_CHANGED.name, PARTITION, offset, 0, 0, key, value, None, len(key), len(value or b""), ()
        )
        self.records.append(record)
        decision = decide(
            self.table.get(key), self.floor, ChangeSource(key, value, PARTITION, offset), self.rules
        )
        self.verdicts[decision.verdict] += 1
        if decision.refusal is not None:
            self.refused.append((offset, decision.refusal.code, decision.refusal.detail))
        if decision.floor is not None:
            self.floor = decision.floor.purge_floor
        if decision.emission is not None:
            put(self.table, decision.emission)
            self.last[decision.emission.key] = decision.emission

    def _event(self) -> tuple[bytes, bytes | None]:
        self._now_us += self.dice.choice([0, 1, SECOND_US, 70 * SECOND_US, 1500 * SECOND_US])
        cart_id = self.dice.choice(self.carts)
        state = self._state(cart_id)
        kinds = {"write": 40, "late": 5, "erase": 2, "poison": 5}
        if self._changes:
            kinds |= {"again": 5, "retry": 5}
        if state is not None:
            kinds |= {"expire": 12, "purge": 15, "seed": 3}
        kind = self.dice.choices(list(kinds), list(kinds.values()))[0]
        if kind == "poison":
            return self._poison(cart_id)
        change = self._change_of(kind, cart_id, state)
        self._changes.append(change)
        return change.cart_id.encode(), encode_change(change)

    def _change_of(self, kind: str, cart_id: str, state: State | None) -> Change:
        dice = self.dice
        match kind:
            case "again":
                change = dice.choice(self._changes)
            case "retry":
                before = dice.choice(self._changes)
                delta = before.delta if dice.random() < 0.7 else (self._write(),)
                change = self._change(before.cart_id, *delta, op_id=before.op_id)
            case "late":
                change = self._change(cart_id, self._write(), at_us=self._now_us - 30 * SECOND_US)
            case "erase":
                change = self._change(cart_id, Erase())
            case "expire" if state is not None:
                expire = Expire(state.version_number, state.operation_count, self._now_us)
                change = self._change(cart_id, expire, op_id="!expire")
            case "purge" if state is not None:
                at = state.version_number // 2 + dice.choice([RETENTION_US * 2, RETENTION_US // 2])
                purge = Purge(state.version_number, state.operation_count, at)
                change = self._change(cart_id, purge, op_id="!purge")
            case "seed" if state is not None:
                change = self._change(dice.choice(self.carts), Seed(msgspec.to_builtins(state)))
            case _:
                change = self._change(cart_id, *[self._write() for _ in range(dice.choice([1, 1, 3]))])
        return change

    def _poison(self, cart_id: str) -> tuple[bytes, bytes | None]:
        key, value = cart_id.encode(), encode_change(self._change(cart_id, self._write()))
        poison: list[tuple[bytes, bytes | None]] = [
            (key, b"\xff?"),
            (key, None),
            (key, value.replace(b'"kind":"', b'"kind":"tele')),
            (key, encode_change(self._change(cart_id, Void()))),
            (b"user:somebody", value),
        ]
        return self.dice.choice(poison)

    def _write(self) -> Step:
        dice = self.dice
        line_id = f"sku-{dice.randrange(4)}"
        note = {"note": "x" * dice.choice([0, 20, 800])}
        steps: list[Step] = [
            Add(line_id, dice.randrange(1, 5), 500, "EUR", Item(line_id), note),
            Set(line_id, dice.randrange(1, 9), 400, "EUR", Item(line_id)),
            Remove(line_id),
            SetMetadata(note),
            Clear(),
        ]
        return dice.choices(steps, [8, 2, 2, 2, 1])[0]

    def _change(
        self, cart_id: str, *steps: Step, op_id: str | None = None, at_us: int | None = None
    ) -> Change:
        version = 2 * (self._now_us if at_us is None else at_us)
        state = self._state(cart_id)
        return Change(
            cart_id=cart_id,
            version=version,
            op_id=op_id or f"op-{len(self.records)}",
            delta=steps,
            previous_version=state.version_number if state is not None and self.dice.random() < 0.7 else None,
            born=version,
        )

    def _state(self, cart_id: str) -> State | None:
        held = self.table.get(cart_id.encode())
        return decode_state(held) if held is not None and held != GARBAGE else None


def put(table: Table, emission: Emission) -> None:
    if emission.value is None:
        table.pop(emission.key, None)
    else:
        table[emission.key] = emission.value


def folded(records: list[ConsumerRecord], table: Table, rules: Rules, floor: int = 0) -> FoldedRun:
    """What is made of a run; the table takes the emissions."""
    work = fold_run(records, PARTITION, floor, table.get, rules)
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: FoldedRun = done.value
            break
    for emission in result.emissions:
        put(table, emission)
    return result


def cut(tale: Tale) -> Iterable[list[ConsumerRecord]]:
    """The records of the tale in runs."""
    left = list(tale.records)
    while left:
        length = tale.dice.choice([1, 3, 10, len(left)])
        yield left[:length]
        left = left[length:]


@pytest.mark.parametrize("seeds", [range(start, start + 250) for start in range(0, 1500, 250)], ids=str)
def test_runs_say_what_their_records_say_one_by_one(seeds: range) -> None:
    for seed in seeds:
        tale = Tale(seed)
        table, last, floor = dict(tale.first), dict[bytes, Emission](), 0
        refused: list[tuple[int, str, str]] = []
        verdicts: Counter[Verdict] = Counter()
        for run in cut(tale):
            result = folded(run, table, tale.rules, floor)
            floor = result.floor.purge_floor if result.floor is not None else floor
            verdicts.update(result.verdicts)
            refused += [
                (each.record.offset, each.refusal.code, each.refusal.detail) for each in result.refused
            ]
            keys = [emission.key for emission in result.emissions]
            assert len(keys) == len(set(keys)), f"seed {seed}: a key is sent twice"
            last |= {emission.key: emission for emission in result.emissions}
        assert (table, last, floor, refused, verdicts) == (
            tale.table,
            tale.last,
            tale.floor,
            tale.refused,
            tale.verdicts,
        ), f"seed {seed}"


def test_a_cart_that_grows_more_than_foreseen_refuses_the_change_that_made_it_too_large() -> None:
    def record(offset: int, delta: Step, op_id: str) -> ConsumerRecord:
        version = 2 * (NOW_US + offset)
        change = Change(cart_id="user:0", version=version, op_id=op_id, delta=(delta,), previous_version=0)
        value = encode_change(change)
        return ConsumerRecord(
            CART_CHANGED.name, PARTITION, offset, 0, 0, b"user:0", value, None, 6, len(value), ()
        )

    long = record(0, Add("sku-1", 1, 500, "EUR", Item("sku-1"), {"note": "x" * 20_000}), "op-1")
    # A further attempt of the operation: it counts with what the first one said, so the cart has that twice.
    again = record(1, Remove("sku-1"), "op-1")
    last = record(2, Add("sku-2", 1, 500, "EUR", Item("sku-2")), "op-2")
    table: Table = {}
    folded([long], table, Rules(retention_us=RETENTION_US, max_bytes=1 << 20))
    largest = len(table[b"user:0"]) + 15_000
    result = folded([again, last], table, Rules(retention_us=RETENTION_US, max_bytes=largest))
    assert [(each.record.offset, each.refusal.code) for each in result.refused] == [(1, "too_large")]
    assert decode_state(table[b"user:0"]).operation_count == 2
    assert len(table[b"user:0"]) <= largest
