"""What must hold of versions: unique, rising, at the offset a receipt names, honoured as a condition."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from carts.protocol import rank
from carts.state import Version
from tests.faults.erasure_records import EraseAttempt
from tests.faults.history import (
    DURABLE,
    Began,
    Ended,
    Forgets,
    Ok,
    Operation,
    Record,
    operations,
    writes,
)
from tests.faults.stores import Stores, Violation, about


def versions_are_unique(_history: Sequence[Record], stores: Stores) -> list[Violation]:
    """No two operations of a cart have the same version."""
    owner: dict[tuple[str, int], str] = {}
    found = []
    for record in stores.published:
        change = record.change
        first = owner.setdefault((change.cart_id, change.version), change.op_id)
        if first != change.op_id:
            found.append(
                Violation(
                    "version twice", change.cart_id, f"{change.version} is of {first} and of {change.op_id}"
                )
            )
    return found


def versions_rise(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """An operation asked for after another was in Kafka has a higher version, in every attempt.

    What only Redis had acknowledged may have been forgotten, and born again by a retry under a later version.
    """
    first: dict[tuple[str, str | None], int] = {}
    for record in stores.published:
        key = (record.change.cart_id, record.change.op_id)
        first[key] = min(record.change.version, first.get(key, record.change.version))
    by_cart: dict[str, list[Operation]] = defaultdict(list)
    for operation in writes(history):
        if (operation.cart_id, operation.key) in first:
            by_cart[operation.cart_id].append(operation)
    found = []
    for cart_id, group in by_cart.items():
        ended = sorted(
            (operation.durable_at, first[cart_id, operation.key])
            for operation in group
            if operation.durable_at is not None
        )
        times = [at for at, _ in ended]
        highest = list(accumulate((v for _, v in ended), max, initial=0))
        for operation in group:
            before = highest[bisect_left(times, operation.invoked_at)]
            v = first[cart_id, operation.key]
            if v <= before:
                found.append(
                    about("version fell", operation, f"has {v}, acknowledged before it began: {before}")
                )
    return found


def receipts_are_readable(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """At the partition and offset of a receipt stands the operation it was given for."""
    at = {(record.partition, record.offset): record.change for record in stores.published}
    found = []
    for operation in writes(history):
        for ok in operation.oks:
            if ok.receipt is None:
                continue
            change = at.get(ok.receipt)
            if change is None or (change.cart_id, change.op_id) != (operation.cart_id, operation.key):
                found.append(about("false receipt", operation, f"at {ok.receipt} stands {change}"))
    return found


def conditions_held(history: Sequence[Record], stores: Stores) -> list[Violation]:
    """An operation with If-Match was made on exactly the version it named, in one of its attempts."""
    before: dict[tuple[str, str | None], set[int | None]] = defaultdict(set)
    for record in stores.published:
        change = record.change
        before[change.cart_id, change.op_id].add(change.previous_version)
    found = []
    for operation in writes(history):
        stood_on = before.get((operation.cart_id, operation.key))
        # A change that was published again by an agent does not say what it was made on.
        if not operation.if_match or not stood_on or None in stood_on:
            continue
        if int(operation.if_match.partition("-")[0]) not in stood_on:
            found.append(about("condition broken", operation, f"{operation.if_match}, not {stood_on}"))
    return found


def reads_never_go_back(history: Sequence[Record], _stores: Stores) -> list[Violation]:
    """A reply shows at least what any reply before its request showed, for as long as Redis forgets nothing.

    Replies that say they are stale do not count, nor do those of operations that were tried twice.
    """
    replies = _replies(history)
    return _fallen(history, replies, replies, {Forgets.EVERYTHING, Forgets.NEWEST})


def a_wipe_takes_back_nothing_durable(history: Sequence[Record], _stores: Stores) -> list[Violation]:
    """What was acknowledged as being in Kafka shows in every reply to a later request, after a wipe too.

    Only a failover may show an older cart for a while; a write meanwhile is a fork, united later. The count
    may fall: a reply also shows, and counts, what only Redis had.
    """
    replies = _replies(history)
    wipes = borders(history, {Forgets.EVERYTHING})
    # A change under way during the wipe is acknowledged, but may land after the restoration has looked.
    durable = [
        reply
        for reply in replies
        if reply.ok.durability in DURABLE and is_calm(wipes, reply.invoked_at, reply.ok.at)
    ]
    return _fallen(history, durable, replies, {Forgets.NEWEST}, counts=False)


class _Reply(NamedTuple):
    cart_id: str
    invoked_at: int
    ok: Ok
    rank: tuple[int, int]

    def __str__(self) -> str:
        return f"request {self.ok.op} from {self.invoked_at} to {self.ok.at} was shown {self.ok.version}"


def _replies(history: Sequence[Record]) -> list[_Reply]:
    return [
        _Reply(operation.cart_id, operation.invoked_at, operation.oks[0], _rank_of(operation.oks[0]))
        for operation in operations(history)
        if operation.attempts == 1 and operation.oks and not operation.oks[0].stale
    ]


def borders(history: Sequence[Record], forgets: Container[Forgets]) -> list[int]:
    """When such faults began and ended, in turn."""
    faults = {
        (record.fault, record.target)
        for record in history
        if isinstance(record, Began) and record.forgets in forgets
    }
    return sorted(
        record.at
        for record in history
        if isinstance(record, Began | Ended) and (record.fault, record.target) in faults
    )


def is_calm(edges: Sequence[int], begin: int, end: int) -> bool:
    """Whether no fault whose beginning and end are among `edges` touches the time between."""
    epoch = bisect_right(edges, begin)
    # Odd epochs are the faults themselves: nobody knows at which moment of it Redis forgot.
    return epoch % 2 == 0 and epoch == bisect_right(edges, end)


def _fallen(
    history: Sequence[Record],
    before: Iterable[_Reply],
    after: Iterable[_Reply],
    forgets: Container[Forgets],
    *,
    counts: bool = True,
) -> list[Violation]:
    """The replies `after` that show less than a reply `before` them did, with no such fault between.

    Without `counts` only versions are compared, not how many operations they count. Once a cart's erasure is
    under way, its count may fall, but not its version: changes that wait to be published are dropped with
    what is erased, so the folded cart never counts them.
    """
    edges = borders(history, forgets)
    erased_since: dict[str, int] = {}
    for record in history:
        if isinstance(record, EraseAttempt):
            erased_since.setdefault(record.cart_id, record.at)

    def epochs(replies: Iterable[_Reply]) -> dict[tuple[str, int], list[_Reply]]:
        found = defaultdict(list)
        for reply in replies:
            if is_calm(edges, reply.invoked_at, reply.ok.at):
                found[reply.cart_id, bisect_right(edges, reply.ok.at)].append(reply)
        return found

    lower = epochs(before)
    found = []
    for (cart_id, epoch), replies in epochs(after).items():
        ended = sorted(lower.get((cart_id, epoch), ()), key=lambda reply: reply.ok.at)
        times = [reply.ok.at for reply in ended]
        highest = list(accumulate(ended, _higher))
        for reply in replies:
            earlier = bisect_left(times, reply.invoked_at)
            if not earlier or reply.rank >= (least := highest[earlier - 1]).rank:
                continue
            is_older = reply.rank[0] < least.rank[0]
            is_erased = erased_since.get(cart_id, reply.ok.at) < reply.ok.at
            if is_older or (counts and not is_erased):
                found.append(Violation("read went back", cart_id, f"{reply}; before it {least}"))
    return found


def _higher(one: _Reply, other: _Reply) -> _Reply:
    return max(one, other, key=lambda reply: reply.rank)


def _rank_of(ok: Ok) -> tuple[int, int]:
    v, n, _ = ok.version.split("-")
    return rank(Version(int(v), int(n)))
