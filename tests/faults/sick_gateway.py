"""What must hold while one gateway alone is cut off from Kafka, or has a wrong clock: the others go on."""

from collections.abc import Iterator, Sequence
from typing import Final

from tests.faults.history import DURABLE, Began, Ended, Invoke, Ok, Record
from tests.faults.schedule import ONE_ALONE
from tests.faults.stores import Stores, Violation
from tests.faults.topology import ALONE, GATEWAYS

SETTLING_US: Final = 11_000_000
"""By then what the sick gateway has left is older than the publish deadline, and holds back the other one."""
ENOUGH: Final = 10
"""Acknowledgements by which one can judge."""
MOST: Final = 0.75
"""A sick gateway may have got the leases of only some of the partitions."""


def a_sick_gateway_holds_back_nobody(history: Sequence[Record], _stores: Stores) -> list[Violation]:
    """Most changes that a healthy gateway acknowledges meanwhile are in Kafka.

    Not all: some clients ask for less, and what the sick one has left in an outbox goes first.
    """
    asked = {
        (record.op, record.attempt): record.gateway
        for record in history
        if isinstance(record, Invoke) and record.key is not None
    }
    sick = GATEWAYS.index(ALONE)
    found = []
    for began, ended in _spans(history):
        answers = [
            record.durability in DURABLE
            for record in history
            if isinstance(record, Ok)
            and began.at + SETTLING_US < record.at < ended.at
            and asked.get((record.op, record.attempt), sick) != sick
        ]
        if len(answers) >= ENOUGH and sum(answers) < MOST * len(answers):
            detail = f"{sum(answers)} of {len(answers)} changes at the healthy gateway got into Kafka"
            found.append(Violation("held back", ALONE, f"{began.fault}: {detail}"))
    return found


def _spans(history: Sequence[Record]) -> Iterator[tuple[Began, Ended]]:
    began: Began | None = None
    for record in history:
        if isinstance(record, Began) and record.fault in ONE_ALONE:
            began = record
        elif isinstance(record, Ended) and began is not None and record.fault == began.fault:
            yield began, record
            began = None
