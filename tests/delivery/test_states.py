"""States on their way, in the store and in the log: whatever comes between, and whenever the worker dies."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from delivery import states
from delivery.changelog import Headers
from delivery.states import LOST_END, Distrust, InFlight, PartitionStates, State, distrust, found_short
from delivery.stores import LocalStore, Position
from runtime.kafka.ranges import OffsetRange

TOPIC, PARTITION, NOW = "a-topic-id", 3, 1_000_000.0
KEYS = (b"a", b"b", b"c")


class LogWentBack(Exception):
    """What the process says before it ends."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with closing(LocalStore(tmp_path / "store", cache_bytes=1 << 20, write_buffer_bytes=1 << 20)) as opened:
        opened.open()
        yield opened


@pytest.fixture(autouse=True)
def _end_by_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_stop(event: str, **_: object) -> None:
        raise LogWentBack(event)

    monkeypatch.setattr(states, "fail_stop", fail_stop)


def longer(_key: bytes, held: bytes | None, read: bytes | None, _headers: Headers) -> bytes | None:
    """The version of these states is their length."""
    return held if len(held or b"") > len(read or b"") else read


def no_headers(_key: bytes, _value: bytes | None) -> Headers:
    return []


def record(offset: int, time: int, key: bytes, value: bytes | None) -> Any:
    """A changelog record as a consumer gives it."""
    return SimpleNamespace(offset=offset, timestamp=time, key=key, value=value, headers=())


class Log:
    """A changelog partition, the producer in front of it, and the worker that owns it until it dies."""

    def __init__(self, store: LocalStore) -> None:
        self.records: list[State] = []
        self.times: list[int] = []
        self.clock = 0
        self.store = store
        self.waiting: list[InFlight] = []
        """Sent, not appended yet."""
        self.appended: list[tuple[InFlight, int, int]] = []
        """Appended, the worker does not know yet."""
        self.owner = self._open()

    def _open(self) -> PartitionStates:
        known = self.store.positions().get(PARTITION, Position(TOPIC, 0, NOW))
        last = self.times[known.offset - 1] if 0 < known.offset <= len(self.times) else None
        why = distrust(known, TOPIC, OffsetRange(0, len(self.records)), 0.0, 1.0, last)
        return PartitionStates(self.store, PARTITION, found_short(known, 0) if why in LOST_END else known)

    def _write(self, some: Sequence[State]) -> int:
        self.clock += 1
        self.records += some
        self.times += [self.clock] * len(some)
        return len(self.records) - len(some)

    def lose(self, count: int) -> None:
        """The broker comes back without its last records, and without what was on its way."""
        self.waiting.clear()
        self.appended.clear()
        del self.records[max(0, len(self.records) - count) :]
        del self.times[len(self.records) :]

    def send(self, *states: State) -> None:
        """The worker hands a batch to its producer."""
        self.waiting.append(self.owner.sending(states))

    def append(self) -> None:
        """The broker appends the next batch."""
        if self.waiting:
            batch = self.waiting.pop(0)
            base = self._write(batch.states)
            self.appended.append((batch, base, self.clock))

    def acknowledge(self) -> None:
        """The worker learns of the next batch that was appended."""
        if self.appended:
            self.owner.acknowledged(*self.appended.pop(0))

    def others_write(self, *states: State) -> None:
        """A frozen worker has woken up."""
        self._write(states)

    def look(self, at: float = NOW) -> None:
        """The worker asks for the end of the log."""
        self.owner.log_ends_at(len(self.records), self.owner.seen, at)

    def read(self, span: OffsetRange, as_of: float | None = None, chunk: int = 2) -> None:
        """The worker reads a range, which ended the log at `as_of`."""
        for start in range(*span, chunk):
            records = [
                record(offset, self.times[offset], *self.records[offset])
                for offset in range(start, min(start + chunk, span.end))
            ]
            self.owner.absorb(records, longer)
        self.owner.absorbed(span.end, as_of)

    def answer(self) -> None:
        """The worker reads what others have written and sends again what must be the last."""
        while missing := self.owner.missing():
            self.read(missing)
        if again := self.owner.to_send_again(longer, no_headers):
            self.send(*again)
        self.owner.sent_again()

    def die(self) -> None:
        """Kill -9, and the start after it; what the producer had not sent is gone."""
        self.waiting.clear()
        self.appended.clear()
        self.owner = self._open()
        self.read(self.owner.read_on_to(len(self.records)), NOW)
        self.answer()

    def settle(self) -> None:
        """Nothing on its way any more, and nothing to answer."""
        for _ in range(10):
            while self.waiting or self.appended:
                self.append()
                self.acknowledge()
            self.look()
            self.answer()
        assert not self.waiting

    def stored(self) -> dict[bytes, bytes | None]:
        """What a process that starts now finds."""
        return dict(self.store.items(PARTITION))

    def position(self) -> int:
        """Where a process that starts now reads on."""
        return self.store.positions()[PARTITION].offset


@pytest.fixture
def log(store: LocalStore) -> Log:
    return Log(store)


def test_a_state_is_held_at_once_and_stored_when_it_is_acknowledged(log: Log) -> None:
    log.send((b"a", b"1"), (b"b", b"1"))
    assert (log.owner.get(b"a"), log.stored()) == (b"1", {})
    log.append()
    assert log.stored() == {}
    log.acknowledge()
    assert (log.stored(), log.position()) == ({b"a": b"1", b"b": b"1"}, 2)


def test_the_next_state_of_a_key_is_held_when_the_one_before_it_is_acknowledged(log: Log) -> None:
    log.send((b"a", b"1"))
    log.send((b"a", b"12"))
    log.append()
    log.acknowledge()
    assert (log.owner.get(b"a"), log.stored()) == (b"12", {b"a": b"1"})
    assert dict(log.owner.items()) == {b"a": b"12"}


def test_a_deletion_is_held_at_once_and_stored_when_it_is_acknowledged(log: Log) -> None:
    log.send((b"a", b"1"))
    log.settle()
    log.send((b"a", None))
    assert (log.owner.get(b"a"), dict(log.owner.items()), log.stored()) == (None, {}, {b"a": b"1"})
    log.settle()
    assert (log.owner.get(b"a"), log.stored(), log.position()) == (None, {}, 2)


def test_what_somebody_else_has_written_between_is_read_before_the_position_passes_it(log: Log) -> None:
    log.send((b"a", b"1"))
    log.settle()
    log.others_write((b"z", b"new"))
    log.send((b"a", b"12"))
    log.append()
    log.acknowledge()
    assert (log.position(), log.stored(), log.owner.get(b"a")) == (1, {b"a": b"1"}, b"12")
    assert log.owner.missing() == OffsetRange(1, 3)
    log.answer()
    assert (log.position(), log.stored()) == (3, {b"a": b"12", b"z": b"new"})
    log.others_write((b"a", b"123"))
    log.look()
    log.answer()
    assert log.owner.get(b"a") == b"123"


def test_the_position_waits_for_the_answer_to_an_older_state(log: Log) -> None:
    log.send((b"a", b"12"))
    log.settle()
    log.others_write((b"a", b"1"))
    log.look()
    log.answer()
    log.send((b"b", b"1"))
    log.append()
    log.append()
    assert log.position() == 1
    # The process that dies now finds the older state again.
    log.acknowledge()
    log.acknowledge()
    assert (log.records[2:], log.position()) == ([(b"a", b"12"), (b"b", b"1")], 4)


def test_the_log_may_be_behind_until_the_answer_is_acknowledged(log: Log) -> None:
    log.send((b"a", b"12"))
    log.settle()
    behind = [log.owner.may_be_behind]
    log.others_write((b"a", b"1"))
    log.look()
    behind.append(log.owner.may_be_behind)
    log.answer()
    log.append()
    behind.append(log.owner.may_be_behind)
    log.acknowledge()
    behind.append(log.owner.may_be_behind)
    assert behind == [False, True, True, False]


def test_a_worker_that_dies_before_its_answer_is_acknowledged_answers_again(log: Log) -> None:
    log.send((b"a", b"12"))
    log.settle()
    log.others_write((b"a", b"1"))
    log.look()
    log.answer()
    log.die()
    log.settle()
    assert (log.records[-1], log.position()) == ((b"a", b"12"), 3)


def test_a_newer_state_is_not_followed_by_the_answer_to_an_older_one(log: Log) -> None:
    log.send((b"a", b"12"))
    log.settle()
    log.others_write((b"a", b"1"))
    log.send((b"b", b"1"))
    log.append()
    log.send((b"a", b"123"))
    log.acknowledge()
    log.answer()
    log.settle()
    assert log.records[-1] == (b"a", b"123")


def test_a_state_on_its_way_is_followed_by_a_newer_one_that_was_read(log: Log) -> None:
    log.send((b"b", b"1"))
    log.others_write((b"a", b"123"))
    log.append()
    log.send((b"a", b"1"))
    log.acknowledge()
    log.answer()
    assert log.owner.get(b"a") == b"123"
    log.settle()
    assert (log.records[-1], log.stored()[b"a"]) == ((b"a", b"123"), b"123")


def test_an_acknowledgement_of_what_was_read_meanwhile_moves_nothing(log: Log) -> None:
    log.send((b"a", b"1"))
    log.append()
    log.read(log.owner.read_on_to(1))
    log.acknowledge()
    assert (log.position(), log.stored(), log.owner.missing()) == (1, {b"a": b"1"}, None)
    assert dict(log.owner.items()) == {b"a": b"1"}


def test_the_position_does_not_go_back_when_states_are_acknowledged_while_the_log_is_read(log: Log) -> None:
    log.others_write((b"z", b"1"))
    log.send((b"a", b"1"))
    log.send((b"b", b"1"))
    log.append()
    log.append()
    log.owner.read_on_to(3)
    positions = []
    for offset, state in enumerate(log.records):
        log.owner.absorb([record(offset, 1, *state)], longer)
        log.acknowledge()
        positions.append(log.position())
    assert positions == [1, 2, 3]
    log.owner.absorbed(3)
    assert (log.owner.missing(), dict(log.owner.items())) == (None, log.stored())


def test_the_end_of_the_log_says_nothing_about_others_while_states_are_on_their_way(log: Log) -> None:
    log.send((b"a", b"1"))
    log.append()
    log.look()
    assert log.owner.missing() is None


def test_an_acknowledgement_after_the_partition_has_gone_stores_nothing(log: Log) -> None:
    log.send((b"a", b"1"))
    log.append()
    log.owner.release()
    log.acknowledge()
    assert log.stored() == {}


def test_an_acknowledgement_from_a_log_that_is_shorter_ends_the_process(log: Log) -> None:
    log.send((b"a", b"1"))
    log.settle()
    batch = log.owner.sending([(b"a", b"12")])
    with pytest.raises(LogWentBack, match=r"changelog\.went_back"):
        log.owner.acknowledged(batch, 0)


def test_a_log_that_is_shorter_twice_in_a_row_ends_the_process(log: Log) -> None:
    log.send((b"a", b"1"))
    log.settle()
    log.owner.log_ends_at(0, log.owner.seen, 1e12)
    assert log.store.positions()[PARTITION].as_of < 1e12
    log.look()
    log.owner.log_ends_at(0, log.owner.seen, NOW)
    with pytest.raises(LogWentBack):
        log.owner.log_ends_at(0, log.owner.seen, NOW)


def test_an_end_that_was_asked_for_before_an_acknowledgement_is_not_short(log: Log) -> None:
    for _ in range(3):
        seen = log.owner.seen
        log.send((b"a", b"1"))
        log.append()
        log.acknowledge()
        log.owner.log_ends_at(seen, seen, NOW)


def test_the_age_of_an_idle_partition_is_renewed_at_the_end_of_the_log_only(log: Log) -> None:
    log.read(log.owner.read_on_to(0), as_of=NOW)
    log.look(NOW + 100)
    assert log.store.positions()[PARTITION].as_of == NOW + 100
    log.others_write((b"z", b"1"))
    log.look(NOW + 200)
    assert log.store.positions()[PARTITION].as_of == NOW + 100


def test_the_age_of_a_store_that_is_being_filled_is_that_of_its_beginning(log: Log) -> None:
    log.others_write(*[(key, b"1") for key in KEYS])
    span = log.owner.read_on_to(3)
    log.read(OffsetRange(0, 2))
    assert log.store.positions()[PARTITION] == Position(TOPIC, 2, NOW, record_time=1)
    log.read(OffsetRange(2, span.end), as_of=NOW + 50)
    assert log.store.positions()[PARTITION] == Position(TOPIC, 3, NOW + 50, record_time=1)


def test_the_store_grows_by_what_is_new_in_the_log(log: Log) -> None:
    log.owner.read_on_to(4)
    some = [(b"a", b"1"), (b"b", b"1"), (b"a", b"12"), (b"b", b"12")]
    assert log.owner.absorb([record(n, 1, *state) for n, state in enumerate(some)], longer) == 2
    assert log.stored() == {b"a": b"12", b"b": b"12"}


OWN_MOVES = ["send"] * 6 + ["append"] * 5 + ["acknowledge"] * 5 + ["look", "answer", "die"]


class History:
    """Random moves of the worker, its producer, its broker and, if they are moves too, of other writers."""

    def __init__(self, log: Log, seed: int) -> None:
        self.log = log
        self.random = random.Random(seed)

    def newest(self) -> dict[bytes, bytes | None]:
        """The longest state of each key that the log has."""
        return dict(sorted(self.log.records, key=lambda state: len(state[1] or b"")))

    def move(self, name: str) -> None:
        """Make the move."""
        match name:
            case "send":
                keys = self.random.sample(KEYS, self.random.randint(1, 3))
                self.log.send(*[(key, (self.log.owner.get(key) or b"") + b"x") for key in keys])
            case "older" | "newer":
                key = self.random.choice(KEYS)
                size = len(self.newest().get(key) or b"")
                size = size + 1 if name == "newer" else self.random.randint(1, max(1, size))
                self.log.others_write((key, b"x" * size))
            case _:
                getattr(self.log, name)()


@pytest.mark.parametrize("seed", range(20))
def test_the_store_is_exactly_the_log_up_to_its_position(seed: int, log: Log) -> None:
    history = History(log, seed)
    for _ in range(60):
        history.move(history.random.choice(OWN_MOVES))
        if positions := log.store.positions():
            assert log.stored() == dict(log.records[: positions[PARTITION].offset])


@pytest.mark.parametrize("seed", range(40))
def test_whatever_others_write_the_log_ends_with_the_newest_states_and_the_store_is_never_ahead(
    seed: int, log: Log
) -> None:
    history = History(log, seed)
    for _ in range(60):
        history.move(history.random.choice([*OWN_MOVES, "older", "newer"]))
        newest = history.newest()
        assert all(len(value or b"") <= len(newest[key] or b"") for key, value in log.stored().items())
    log.settle()
    assert dict(log.records) == history.newest()
    assert (log.stored(), log.position()) == (history.newest(), len(log.records))


def test_what_a_log_has_lost_with_its_end_is_sent_again_though_our_own_append_made_it_as_long_as_it_was(
    log: Log,
) -> None:
    log.send((b"a", b"1"))
    log.send((b"b", b"1"))
    log.settle()
    log.lose(1)
    log.send((b"c", b"1"))
    log.append()
    with pytest.raises(LogWentBack):
        log.acknowledge()
    log.die()
    log.settle()
    # Whoever has read two records before the loss goes on from there, and misses nothing.
    assert dict(log.records[2:]) == {b"b": b"1", b"c": b"1"}
    assert log.store.positions()[PARTITION].lost_below == 0


@pytest.mark.parametrize("seed", range(40))
def test_whoever_has_read_a_log_that_loses_its_end_reads_on_and_has_the_newest_states(
    seed: int, log: Log
) -> None:
    history = History(log, seed)
    for _ in range(20):
        history.move(history.random.choice([*OWN_MOVES, "older", "newer"]))
    log.settle()
    read, known = len(log.records), history.newest()
    log.lose(history.random.randint(1, 4))
    try:
        for _ in range(history.random.randint(0, 6)):
            history.move(history.random.choice(["send", "append", "acknowledge", "newer", "look"]))
    except LogWentBack:
        pass
    newest = known | {key: max(known.get(key) or b"", value or b"", key=len) for key, value in log.records}
    for _ in range(history.random.randint(1, 3)):
        log.die()
        if history.random.random() < 0.5:
            log.append()
    log.settle()
    log.send((b"d", b"1"))
    log.settle()
    newest[b"d"] = b"1"
    read_on = dict(sorted([*known.items(), *log.records[read:]], key=lambda state: len(state[1] or b"")))
    assert dict(log.records) == read_on == log.stored() == newest


HELD = Position(TOPIC, 50, NOW, record_time=7)


@pytest.mark.parametrize(
    ("position", "topic_id", "log_has", "age_s", "why"),
    [
        (Position(TOPIC, 50, NOW, record_time=6), TOPIC, OffsetRange(0, 100), 10.0, Distrust.OTHER_RECORD),
        (Position(TOPIC, 50, NOW, lost_below=60), TOPIC, OffsetRange(0, 100), 10.0, Distrust.OTHER_RECORD),
        (HELD, TOPIC, OffsetRange(0, 100), 10.0, None),
        (HELD, TOPIC, OffsetRange(50, 50), 10.0, None),
        (None, TOPIC, OffsetRange(0, 100), 0.0, Distrust.NOTHING_STORED),
        (HELD, "another", OffsetRange(0, 100), 10.0, Distrust.OTHER_TOPIC),
        (HELD, TOPIC, OffsetRange(51, 100), 10.0, Distrust.BEFORE_LOG),
        (HELD, TOPIC, OffsetRange(0, 49), 10.0, Distrust.BEYOND_END),
        (HELD, TOPIC, OffsetRange(0, 100), 101.0, Distrust.TOO_OLD),
        (HELD, TOPIC, OffsetRange(0, 100), -1.0, Distrust.TOO_OLD),
        (Position("", 50, NOW), "", OffsetRange(0, 100), 10.0, Distrust.NO_TOPIC_ID),
    ],
    ids=lambda value: str(value) if isinstance(value, Distrust) else "",
)
def test_a_position_is_trusted_only_if_nothing_can_have_passed_it(
    position: Position | None, topic_id: str, log_has: OffsetRange, age_s: float, why: Distrust | None
) -> None:
    assert distrust(position, topic_id, log_has, age_s, max_age_s=100.0, record_time=7) is why
