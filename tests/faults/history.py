"""The history of a run: what clients asked, what they were told, what was broken. One JSON line a record."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from time import monotonic_ns
from types import TracebackType
from typing import Final, Self

import msgspec

from tests.faults.erasure_records import EraseAttempt, Erased
from tests.faults.order_records import OrderAttempt, Ordered, Stocked


class Add(msgspec.Struct, frozen=True, tag_field="do", tag="add"):
    """Ask for more pieces of a product; its line is called like the product."""

    line_id: str
    quantity: int
    unit_price: int


class Set(msgspec.Struct, frozen=True, tag_field="do", tag="set"):
    """Ask for this quantity of a line that is there, at least 1."""

    line_id: str
    quantity: int


class Remove(msgspec.Struct, frozen=True, tag_field="do", tag="remove"):
    """Ask for a line to go."""

    line_id: str


class Clear(msgspec.Struct, frozen=True, tag_field="do", tag="clear"):
    """Ask for all lines to go."""


class Note(msgspec.Struct, frozen=True, tag_field="do", tag="note"):
    """Ask for the cart's metadata to be `{"note": text}`."""

    text: str


class Detail(msgspec.Struct, frozen=True, tag_field="do", tag="detail"):
    """Ask for the cart's e-mail to be this, and for its codes to go."""

    email: str


class Save(msgspec.Struct, frozen=True, tag_field="do", tag="save"):
    """Ask for so many pieces of a product to be on the list beside the cart; 0 takes it off."""

    line_id: str
    quantity: int


Command = Add | Set | Remove | Clear | Note | Detail | Save


class Invoke(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="invoke"):
    """An attempt at an operation leaves; a read has no key and no commands.

    `at`, here and below, is in microseconds of the monotonic clock.
    """

    at: int
    op: int
    attempt: int
    client: int
    cart_id: str
    key: str | None = None
    commands: tuple[Command, ...] = ()
    if_match: str | None = None
    gateway: int = 0


class Ok(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="ok"):
    """The attempt was acknowledged: the cart's version tag, how far the change got, its place in Kafka."""

    at: int
    op: int
    attempt: int
    version: str
    durability: str | None = None
    receipt: tuple[int, int] | None = None
    stale: bool = False


class Fail(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="fail"):
    """The attempt was refused: it has definitely changed nothing."""

    at: int
    op: int
    attempt: int
    reason: str


class Unknown(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="unknown"):
    """Nobody told: the attempt may have changed the cart, may do so yet, or never will."""

    at: int
    op: int
    attempt: int
    reason: str


class Forgets(StrEnum):
    """What Redis loses by a fault: nothing, everything (what Kafka has comes back), or the newest writes."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    NEWEST = "newest"


class Began(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="fault-began"):
    """Something is being broken."""

    at: int
    fault: str
    target: str
    forgets: Forgets = Forgets.NOTHING


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="fault-ended"):
    """It is whole again, or at least left alone."""

    at: int
    fault: str
    target: str


Record = (
    Invoke | Ok | Fail | Unknown | Began | Ended | OrderAttempt | Ordered | Stocked | EraseAttempt | Erased
)

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Record)


def now_us() -> int:
    """The time of a record: microseconds of the monotonic clock, which all clients of a run share."""
    return monotonic_ns() // 1000


class History:
    """The log of one run, written as it happens: a run that dies leaves what it knew."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.records: Final[list[Record]] = []
        self._file = path.open("wb", buffering=1 << 16)
        self._next = 0

    def next_op(self) -> int:
        """A number for the next operation."""
        self._next += 1
        return self._next

    def write(self, record: Record) -> None:
        """Adds a record."""
        self.records.append(record)
        self._file.write(_encoder.encode(record) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_history(path: Path) -> list[Record]:
    """The records of a log; a last line that was cut off is left out."""
    lines = path.read_bytes().split(b"\n")
    return [_decoder.decode(line) for line in lines[:-1]]


def faults_told(records: Iterable[Record]) -> list[str]:
    """When each fault began and ended, by the clock of the requests."""
    return [
        f"{record.at} {record.fault} of {record.target} {'began' if isinstance(record, Began) else 'ended'}"
        for record in records
        if isinstance(record, Began | Ended)
    ]


class Outcome(StrEnum):
    """What the client may rely on, over all attempts with one key."""

    ACKNOWLEDGED = "acknowledged"
    """At least one attempt was acknowledged as being in Kafka."""
    WEAK = "weak"
    """Acknowledged, but never further than Redis."""
    UNKNOWN = "unknown"
    """Never acknowledged, and not every attempt was refused."""
    REFUSED = "refused"
    """Every attempt was refused."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """All that the history says of one operation.

    `invoked_at` is the time of its first attempt, `durable_at` when it was first said to be in Kafka.
    `ended_at` is the time of the last answer, None while an attempt may still be under way.
    """

    op: int
    client: int
    cart_id: str
    key: str | None
    commands: tuple[Command, ...]
    if_match: str | None
    invoked_at: int
    durable_at: int | None
    ended_at: int | None
    attempts: int
    outcome: Outcome
    oks: tuple[Ok, ...]


DURABLE: Final = frozenset({"kafka", "postgres"})


def operations(records: Iterable[Record]) -> list[Operation]:
    """The operations of a history, in the order of their first invocation."""
    invoked: dict[int, list[Invoke]] = {}
    replies: dict[int, list[Ok | Fail | Unknown]] = {}
    for record in records:
        if isinstance(record, Invoke):
            invoked.setdefault(record.op, []).append(record)
        elif isinstance(record, Ok | Fail | Unknown):
            replies.setdefault(record.op, []).append(record)
    return [_operation(attempts, replies.get(op, [])) for op, attempts in invoked.items()]


def writes(records: Iterable[Record]) -> list[Operation]:
    """The operations that asked for a change."""
    return [operation for operation in operations(records) if operation.key is not None]


def _operation(attempts: Sequence[Invoke], replies: Sequence[Ok | Fail | Unknown]) -> Operation:
    first = attempts[0]
    oks = tuple(reply for reply in replies if isinstance(reply, Ok))
    refused = sum(1 for reply in replies if isinstance(reply, Fail))
    all_told = len(oks) + refused == len(attempts)
    if any(ok.durability in DURABLE for ok in oks) or (oks and first.key is None):
        outcome = Outcome.ACKNOWLEDGED
    elif oks:
        outcome = Outcome.WEAK
    elif refused == len(attempts):
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.UNKNOWN
    return Operation(
        op=first.op,
        client=first.client,
        cart_id=first.cart_id,
        key=first.key,
        commands=first.commands,
        if_match=first.if_match,
        invoked_at=first.at,
        durable_at=min((ok.at for ok in oks if ok.durability in DURABLE), default=None),
        ended_at=max(reply.at for reply in replies) if all_told else None,
        attempts=len(attempts),
        outcome=outcome,
        oks=oks,
    )


class Outage(msgspec.Struct, frozen=True):
    """How long nobody was acknowledged anything around one fault, in microseconds."""

    fault: str
    target: str
    silence_us: int


def outages(records: Sequence[Record], after_us: int = 15_000_000) -> list[Outage]:
    """For each fault the longest silence between two acknowledged writes, up to `after_us` past its end.

    The next fault's begin ends the observation: a silence belongs to the fault that caused it.
    """
    writes = {record.op for record in records if isinstance(record, Invoke) and record.key is not None}
    heard = sorted(record.at for record in records if isinstance(record, Ok) and record.op in writes)
    begins = [record for record in records if isinstance(record, Began)]
    found = []
    for index, begin in enumerate(begins):
        end = next(
            (
                record.at
                for record in records
                if isinstance(record, Ended)
                and record.at >= begin.at
                and (record.fault, record.target) == (begin.fault, begin.target)
            ),
            begin.at,
        )
        until = end + after_us
        if index + 1 < len(begins):
            until = max(end, min(until, begins[index + 1].at))
        before = max((at for at in heard if at <= begin.at), default=begin.at)
        inside = [at for at in heard if begin.at < at <= until]
        later = [at for at in heard if at > until][:1]
        moments = [before, *inside, *later]
        silence = max((b - a for a, b in pairwise(moments)), default=0)
        found.append(Outage(begin.fault, begin.target, silence))
    return found
