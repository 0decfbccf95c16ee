"""The states of one partition of a table: acknowledged ones in the local store, those on their way in memory.

The store must never be ahead of the changelog. If it were, an event that comes again after kill -9 would
change nothing and would not be sent, and its state would be in no log. So a state is held in memory from its
send to its acknowledgement, and enters the store with the offset that the broker gave it.

Nor may the store's position pass what it has not seen or not answered: records that somebody else has
written between ours, and states of ours that must be sent again because an older one came after them.

A log that has lost its end is read from its beginning on top of the store, and gets again what it lacks. What
stands now at offsets that it has had before is sent again, too: its readers take it for what they have read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from itertools import cycle, islice
from typing import Final

import msgspec

from delivery.changelog import Headers
from delivery.stores import LocalStore, Position
from runtime.failstop import fail_stop
from runtime.kafka.ranges import OffsetRange, Record

Keep = Callable[[bytes, "bytes | None", "bytes | None", Headers], "bytes | None"]
"""`keep(key, held, read, read_headers)`: what the table shall hold after reading `read` from its changelog
while it holds `held`; None is absent or a tombstone. Return one of the two objects unless they must be
united. A result unlike `read` means that the log ended with an older state: it is sent again."""

HeadersOf = Callable[[bytes, "bytes | None"], Headers]
"""The headers of a state that is sent again."""

State = tuple[bytes, "bytes | None"]
"""A key and its value; None is a tombstone."""

RENEWED_EVERY_S = 60.0


class Distrust(StrEnum):
    """Why what the store has of a partition cannot be read on from."""

    NOTHING_STORED = auto()
    NO_TOPIC_ID = auto()
    """The cluster gives its topics no ids: one that was made anew would look like the one before."""
    OTHER_TOPIC = auto()
    """The changelog was deleted and made anew."""
    BEFORE_LOG = auto()
    """Retention has removed records that nobody has read."""
    BEYOND_END = auto()
    """The log has lost its end."""
    OTHER_RECORD = auto()
    """The log has lost its end, and has grown past the position since."""
    TOO_OLD = auto()
    """Deletions may have left the log, and the store would keep what they delete."""


LOST_END: Final = frozenset({Distrust.BEYOND_END, Distrust.OTHER_RECORD})
"""The log has less than the store: what the store has is kept, and told to the log."""


def distrust(
    position: Position | None,
    topic_id: str,
    log: OffsetRange,
    age_s: float,
    max_age_s: float,
    record_time: int | None = None,
) -> Distrust | None:
    """Why the changelog must be read from its beginning; None if reading on from `position` is enough.

    `age_s` is how long ago `position.as_of` was; below 0 the clock was set back and says nothing.
    `record_time` is the timestamp of the record before the position, None if it is not there any more.
    """
    if position is None:
        return Distrust.NOTHING_STORED
    is_other_record = position.record_time and record_time not in {None, position.record_time}
    reasons = {
        Distrust.OTHER_TOPIC: position.topic_id != topic_id,
        Distrust.BEFORE_LOG: position.offset < log.start,
        Distrust.TOO_OLD: not 0 <= age_s <= max_age_s,
        Distrust.NO_TOPIC_ID: not topic_id,
        Distrust.BEYOND_END: position.offset > log.end,
        Distrust.OTHER_RECORD: bool(is_other_record or position.lost_below),
    }
    return next((why for why, is_so in reasons.items() if is_so), None)


def found_short(position: Position, start: int) -> Position:
    """Where to begin with a log that has lost its end: at its `start`, with what it had in mind."""
    return Position(
        position.topic_id, start, position.as_of, lost_below=max(position.offset, position.lost_below)
    )


@dataclass(eq=False)
class InFlight:
    """States that are sent together and get consecutive offsets."""

    states: Sequence[State]
    read: bool = False
    """The changelog was read while it was on its way: its records may have been among those."""


class PartitionStates:
    """One partition that the worker owns. Runs in the app's event loop only."""

    def __init__(self, store: LocalStore, partition: int, position: Position) -> None:
        """What the store has of the partition is the changelog below `position.offset`."""
        self._store = store
        self._partition = partition
        self._position = position
        self._record_time = position.record_time
        """The timestamp of the record before `_seen`; 0: not known."""
        self._begun_at = position.offset
        self._met: set[bytes] | None = set() if position.lost_below else None
        """The keys read so far of a log that has lost its end; None: it has not, or is read."""
        self._untold: dict[bytes, bytes | None] = {}
        """States at offsets that the log has had before: in the store when they are sent again."""
        self._seen = position.offset
        """Every changelog record below it is in the store; the next one of ours gets it if all are ours."""
        self._read_to: int | None = None
        """Somebody else has written between `_seen` and here: the log says what is true."""
        self._unanswered: dict[bytes, int] = {}
        """Keys whose last record is older than their state, and its offset."""
        self._contested: set[bytes] = set()
        """Keys that were read while a state of ours was on its way."""
        self._sent: dict[bytes, tuple[bytes | None, InFlight]] = {}
        self._in_flight: set[InFlight] = set()
        self._unread: list[InFlight] = []
        """Acknowledged behind what somebody else has written: in the store once that is read."""
        self._log_is_short = False
        self._released = False

    # -- reading and sending ---------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """The newest value, acknowledged or not; None if there is none."""
        sent = self._sent.get(key)
        return sent[0] if sent is not None else self._store.get(self._partition, key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and its newest value."""
        sent = {key: value for key, (value, _) in self._sent.items()}
        stored = (item for item in self._store.items(self._partition) if item[0] not in sent)
        yield from stored
        yield from ((key, value) for key, value in sent.items() if value is not None)

    def sending(self, states: Sequence[State]) -> InFlight:
        """Hold the states from now on; call `acknowledged` with what this returns."""
        batch = InFlight(states)
        self._in_flight.add(batch)
        for key, value in states:
            self._sent[key] = (value, batch)
        return batch

    def acknowledged(self, batch: InFlight, base: int, record_time: int = 0) -> None:
        """The broker has appended the batch; `base` is the offset of its first record.

        `record_time` is its timestamp, 0 if its records may have others.

        Ends the process with code 75 if the log has become shorter than it was.
        """
        self._in_flight.discard(batch)
        if self._released:
            return
        end = base + len(batch.states)
        if base == self._seen and self._read_to is None:
            self._seen, self._record_time = end, record_time
            told = batch.states[max(0, self._position.lost_below - base) :]
            for key, _ in told:
                self._unanswered.pop(key, None)
            self._write(told, as_of=time.time())
            self._settle(batch)
        elif base < self._seen and not batch.read:
            self._log_went_back(base)
        elif end <= self._seen:
            self._settle(batch)
        else:
            self._unread.append(batch)
            self.read_on_to(end)

    def release(self) -> None:
        """Another worker owns the partition now: what is acknowledged from here on is not for this store."""
        self._released = True

    # -- the log, as others may have written it --------------------------------------------------------

    @property
    def seen(self) -> int:
        """Every changelog record below this offset is in the store."""
        return self._seen

    @property
    def may_be_behind(self) -> bool:
        """Whether the log may end with an older state than is held: it is not read, or not answered yet."""
        return self._read_to is not None or bool(self._unanswered)

    def missing(self) -> OffsetRange | None:
        """What must be read because somebody else wrote it; None: nothing."""
        return None if self._read_to is None else OffsetRange(self._seen, self._read_to)

    def read_on_to(self, end: int) -> OffsetRange:
        """Read the changelog up to `end`; returns what is missing until there."""
        self._read_to = max(self._read_to or 0, end)
        return OffsetRange(self._seen, self._read_to)

    def log_ends_at(self, end: int, seen: int, asked_at: float) -> None:
        """Compare with the end of the log, which was asked for at `asked_at` when this had `seen`.

        Ends the process with code 75 if the log is shorter than it was, twice in a row: a new leader may know
        the end a little late.
        """
        if end < seen and self._log_is_short:
            self._log_went_back(end)
        self._log_is_short = end < seen
        if self._in_flight:
            return
        if end > self._seen:
            self.read_on_to(end)
        elif end == self._seen and asked_at - self._position.as_of > RENEWED_EVERY_S:
            self._write((), as_of=asked_at)

    def absorb(self, records: Sequence[Record], keep: Keep) -> int:
        """Take in the next records of the changelog; returns by how much the number of states has grown."""
        keys = list({record.key for record in records})
        held = dict(zip(keys, self._store.get_many(self._partition, keys), strict=True))
        held |= {key: self._untold[key] for key in keys if key in self._untold}
        if self._met is not None:
            self._met.update(keys)
        changed: dict[bytes, bytes | None] = {}
        grown = 0
        for record in records:
            key, before = record.key, held[record.key]
            kept = keep(key, before, record.value, record.headers)
            if kept != before:
                grown += (kept is not None) - (before is not None)
                held[key] = changed[key] = kept
            if record.offset < self._position.lost_below and (kept != before or key in self._untold):
                self._untold[key] = kept
                self._unanswered.setdefault(key, record.offset)
            elif kept == record.value:
                self._unanswered.pop(key, None)
                if key in self._untold:
                    changed[key] = kept
                    del self._untold[key]
            else:
                self._unanswered.setdefault(key, record.offset)
            if key in self._sent and self._sent[key][1] in self._in_flight:
                self._contested.add(key)
        self._seen, self._record_time = records[-1].offset + 1, records[-1].timestamp
        self._write([state for state in changed.items() if state[0] not in self._untold])
        return grown

    def absorbed(self, end: int, as_of: float | None = None) -> None:
        """All below `end` is read; at `as_of` that was the end of the log, if it is given."""
        if end > self._seen:
            self._seen, self._record_time = end, 0
        if self._met is not None and (self._read_to is None or self._seen >= self._read_to):
            lost = (key for key, _ in self._store.items(self._partition) if key not in self._met)
            self._unanswered |= dict.fromkeys(lost, self._begun_at)
            self._met = None
            if next(self._store.items(self._partition), None) is None and not self._unanswered:
                # There is nothing to send, and nothing that anybody could miss.
                self._position = msgspec.structs.replace(self._position, lost_below=0)
        if self._read_to is not None and self._seen >= self._read_to:
            self._read_to = None
            for batch in self._unread:
                self._settle(batch)
            self._unread.clear()
        for batch in self._in_flight:
            batch.read = True
        self._write((), as_of)

    @property
    def owes_answers(self) -> bool:
        """Whether states must be sent again and are not on their way: whoever wanted to was cancelled."""
        is_short = self._position.lost_below > self._seen and not self._sent
        return bool(is_short or self._contested or self._unanswered.keys() - self._sent.keys())

    def to_send_again(self, keep: Keep, headers_of: HeadersOf) -> list[State]:
        """The states that the log must end with and does not, nor will when all on its way has arrived.

        Call `sent_again` once all of them are on their way; until then they are owed.
        """
        again: list[State] = []
        for key in self._unanswered.keys() | self._contested:
            stored = self._untold[key] if key in self._untold else self._store.get(self._partition, key)
            if key not in self._sent:
                again.append((key, stored))
                continue
            on_its_way = self._sent[key][0]
            kept = keep(key, on_its_way, stored, headers_of(key, stored))
            if kept != on_its_way:
                again.append((key, kept))
        return [*self._filling(again), *again]

    def _filling(self, again: Sequence[State]) -> Iterable[State]:
        """As many states as make a log that has lost its end as long as it was: nobody may read them."""
        filling = again or list(islice(self._store.items(self._partition), 1))
        missing = max(0, self._position.lost_below - self._seen)
        return islice(cycle(filling), missing)

    def sent_again(self) -> None:
        """All that `to_send_again` has returned is on its way."""
        self._contested.clear()
        self._untold.clear()

    # -- the store -------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """How far the store knows the changelog."""
        return self._position

    def _write(self, states: Iterable[State], as_of: float | None = None) -> None:
        offset = min((self._seen, *self._unanswered.values()))
        is_told = self._met is None and not self._unanswered and self._seen >= self._position.lost_below
        self._position = Position(
            self._position.topic_id,
            offset,
            as_of if as_of is not None else self._position.as_of,
            record_time=self._record_time if offset == self._seen else 0,
            lost_below=0 if is_told else self._position.lost_below,
        )
        self._store.write(self._partition, states, self._position)

    def _settle(self, batch: InFlight) -> None:
        for key, _ in batch.states:
            if key in self._sent and self._sent[key][1] is batch:
                del self._sent[key]

    def _log_went_back(self, offset: int) -> None:
        # Written down: what we append ourselves makes the log as long as it was.
        lost_below = max(self._seen, self._position.lost_below)
        self._position = msgspec.structs.replace(self._position, lost_below=lost_below)
        self._store.write(self._partition, (), self._position)
        fail_stop("changelog.went_back", partition=self._partition, offset=offset, seen=self._seen)
