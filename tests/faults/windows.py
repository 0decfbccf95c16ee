"""What clients notice of a fault: how many requests fail or are slow, and for how long there are such."""

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Final

import msgspec

from tests.faults.erasure_records import EraseAttempt, Erased
from tests.faults.history import Began, Ended, Fail, Invoke, Ok, Record, Unknown
from tests.faults.order_records import OrderAttempt

SLOW_US: Final = 1_000_000
DECIDED: Final = frozenset(
    {
        "line-not-found",
        "precondition-failed",
        "short-stock",
        "cart-empty",
        "cart-outdated",
        "checkout-in-progress",
    }
)
"""What the clients of the load generator ask for in vain with good reason."""

WAITED: Final = frozenset({"cart-not-delivered", "deadline-exceeded"})
"""What a checkout is told that has waited for agents which took too long to come back: come again."""


class Window(msgspec.Struct, frozen=True):
    """The requests from the begin of a fault to that of the next one, orders and erasures apart.

    `seconds` are those from the first request that failed or was slow to the answer of the last one.
    """

    fault: str
    asked: int
    slow: int
    failed: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {reason}" for reason, count in sorted(self.failed.items())) or "none"
        return (
            f"{self.fault}: {self.asked} requests, failed: {failed}, slower than {SLOW_US / 1e6:g} s: "
            f"{self.slow}, all within {self.seconds:.1f} s"
        )


def windows(records: Sequence[Record]) -> list[Window]:
    """One for each fault."""
    begins = [record for record in records if isinstance(record, Began)]
    answers = {
        (record.op, record.attempt): record for record in records if isinstance(record, Ok | Fail | Unknown)
    }
    # Nothing follows the last one.
    ends = [*(begin.at for begin in begins[1:]), float("inf")]
    return [
        _window(
            begin.fault,
            [
                (record, answer)
                for record in records
                if isinstance(record, Invoke)
                and begin.at <= record.at < end
                and (answer := answers.get((record.op, record.attempt)))
            ],
        )
        for begin, end in zip(begins, ends, strict=True)
    ]


def failures(records: Sequence[Record]) -> list[Fail | Unknown]:
    """The attempts that failed, or were never answered, without a client being to blame; nor `come_again`.

    Nor the checkouts whose order was erased with its cart: what their key had asked for is known no more.
    """
    excused = {id(record) for record in (*come_again(records), *_of_erased_orders(records))}
    return [
        record
        for record in records
        if isinstance(record, Unknown | Fail)
        and not (isinstance(record, Fail) and record.reason in DECIDED)
        and id(record) not in excused
    ]


def unexplained(records: Sequence[Record]) -> list[Fail | Unknown]:
    """The failures of attempts none of which was under way while a fault lasted."""
    left_at = {
        (record.op, record.attempt): record.at
        for record in records
        if isinstance(record, Invoke | OrderAttempt | EraseAttempt)
    }
    begins = [record.at for record in records if isinstance(record, Began)]
    ends = [record.at for record in records if isinstance(record, Ended)]
    faults = [*zip(begins, ends, strict=True)]
    return [
        answer
        for answer in failures(records)
        if not any(begin <= answer.at and left_at[answer.op, answer.attempt] <= end for begin, end in faults)
    ]


def come_again(records: Sequence[Record]) -> list[Fail | Unknown]:
    """The checkouts that were told to come again, because their cart took too long to get into Postgres."""
    orders = {record.op for record in records if isinstance(record, OrderAttempt)}
    return [
        record
        for record in records
        if isinstance(record, Unknown | Fail) and record.op in orders and record.reason in WAITED
    ]


def _of_erased_orders(records: Sequence[Record]) -> list[Fail]:
    """Checkouts that were first sent before their cart was erased, and sent again afterwards."""
    erased_at = {(record.op, record.attempt): record.at for record in records if isinstance(record, Erased)}
    erasures = [
        (record.cart_id, record.at, erased_at.get((record.op, record.attempt), inf))
        for record in records
        if isinstance(record, EraseAttempt)
    ]
    first: dict[int, OrderAttempt] = {}
    for record in records:
        if isinstance(record, OrderAttempt):
            first.setdefault(record.op, record)
    return [
        record
        for record in records
        if isinstance(record, Fail)
        and record.reason == "idempotency-key-reused"
        and (asked := first.get(record.op)) is not None
        and any(
            cart_id == asked.cart_id and asked.at < end and began < record.at
            for cart_id, began, end in erasures
        )
    ]


def _window(fault: str, asked: Sequence[tuple[Invoke, Ok | Fail | Unknown]]) -> Window:
    slow = [(invoke, answer) for invoke, answer in asked if answer.at - invoke.at > SLOW_US]
    failed = [
        (invoke, answer)
        for invoke, answer in asked
        if isinstance(answer, Fail | Unknown) and answer.reason not in DECIDED
    ]
    trouble = [*slow, *failed]
    first = min((invoke.at for invoke, _ in trouble), default=0)
    last = max((answer.at for _, answer in trouble), default=0)
    return Window(
        fault,
        len(asked),
        len(slow),
        dict(Counter(answer.reason for _, answer in failed if isinstance(answer, Fail | Unknown))),
        (last - first) / 1e6,
    )
