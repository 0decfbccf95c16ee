"""The table: each guard of the protocol, how a test takes it away, and what then fails.

The product has no switches; an ablation replaces one function (of the product where the rule lives there)
while histories of the kinds named are played.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import msgspec

from tests.model import without
from tests.model.run import Failure, explore

_SEEDS = 600

Replacement = Callable[..., Any]


class Ablation(msgspec.Struct, frozen=True):
    """A guard, what it says, what replaces it, where histories find out, and how."""

    guard: str
    rule: str
    without: dict[str, Replacement]
    kinds: str
    fails: str
    """How the problem begins that the first failing history shows."""
    seed: int
    """Where the search begins: seeds from here on."""


@contextmanager
def taken_away(ablation: Ablation) -> Iterator[None]:
    """Play without the guard."""
    with ExitStack() as stack:
        for target, replacement in ablation.without.items():
            stack.enter_context(mock.patch(target, replacement))
        yield


def counterexample(ablation: Ablation) -> Failure | None:
    """The first history that breaks without the guard, of a bounded number."""
    with taken_away(ablation):
        for kind in ablation.kinds.split():
            report = explore(kind, range(ablation.seed, ablation.seed + _SEEDS))
            if report.failures:
                return report.failures[0]
    return None


ABLATIONS = (
    Ablation(
        "window",
        "an operation in Redis's window is a replay",
        {"tests.model.redis_mirror.knows": without.never},
        "plain",
        "Redis shows an operation twice",
        0,
    ),
    Ablation(
        "floor",
        "a change at or below the floor has been counted",
        {"carts.fold.trim": without.trim_without_floor},
        "backlog",
        "o0 is applied 3 times",
        100,
    ),
    Ablation(
        "order",
        "entries count in version order, however they arrive",
        {"carts.fold.ordered": tuple},
        "mixed",
        "carts version does not rise",
        0,
    ),
    Ablation(
        "second attempts",
        "an operation born twice is kept twice, the higher counts",
        {"carts.fold._write": without.first_attempt_only},
        "failover",
        "Redis (",
        80,
    ),
    Ablation(
        "put if covering",
        "a put replaces only a copy whose operations it contains",
        {"carts.protocol.uncovered": without.nothing},
        "failover",
        "put hides o3",
        0,
    ),
    Ablation(
        "covering attempts",
        "it contains them at their version or a higher one",
        {"carts.protocol.uncovered": without.uncovered_by_id},
        "mixed",
        "put hides o2",
        60,
    ),
    Ablation(
        "coverage alone decides",
        "a put does not compare versions",
        {"tests.model.tail.put_outcome": without.put_newer_only},
        "backlog",
        "Redis (",
        3560,
    ),
    Ablation(
        "restore token",
        "a restore goes on only in the Redis that it began in",
        {"carts.protocol.restore_continues": without.always},
        "all",
        "restored",
        350,
    ),
    Ablation(
        "follow position",
        "the position of follow is in Redis and falls back with it",
        {"carts.protocol.follow_continues": without.always, "tests.model.sinks.Follow.resume": without.never},
        "tail_cold_any",
        "a reader misses",
        0,
    ),
    Ablation(
        "whole row",
        "Postgres keeps the whole state, not only the lines",
        {"tests.model.world.World.hydration_row": without.row_of_lines},
        "evict",
        "Redis shows an operation twice",
        1810,
    ),
    Ablation(
        "row attempts",
        "a row has an operation once it has the attempt that was acknowledged, or a later one",
        {"carts.protocol.reached_postgres": without.row_has_any_attempt},
        "postgres_again",
        "reply says postgres",
        0,
    ),
    Ablation(
        "replay reply",
        "a replay says kafka only when its outbox entry is gone",
        {"carts.protocol.durability_at_once": without.replay_is_kafka},
        "plain",
        "reply says kafka",
        0,
    ),
    Ablation(
        "removal by operation",
        "an acknowledgement removes only its own outbox entry",
        {"carts.protocol.removes": without.always},
        "late_removal",
        "reply says kafka",
        0,
    ),
    Ablation(
        "backlog",
        "nothing is published past an outbox entry older than D",
        {"carts.protocol.publish_allowed": without.always},
        "backlog",
        "o0 is lost",
        30,
    ),
    Ablation(
        "publish deadline",
        "a gateway publishes within D of its script",
        {"tests.model.gateway.Gateway.publishable": without.publish_late},
        "backlog",
        "acknowledged o4 is lost",
        890,
    ),
    Ablation(
        "sweeper",
        "a sweeper publishes within D of reading",
        {"tests.model.gateway.Gateway.sweepable": without.always},
        "late_sweeper",
        "o0 is applied 2 times",
        100,
    ),
    Ablation(
        "retry horizon",
        "the script refuses a request first sent too long ago",
        {"carts.protocol.request_in_time": without.always},
        "backlog",
        "Redis shows an operation twice",
        0,
    ),
    Ablation(
        "highest record",
        "a recovery keeps the highest record of a cart, not the last",
        {"carts.protocol.keep_recovered": without.keep_last},
        "late_flush",
        "o1 is lost",
        0,
    ),
    Ablation(
        "emit again",
        "the owner answers a record that fell behind its table",
        {"carts.protocol.emit_again": without.never},
        "zombie",
        "carts holds another state",
        95,
    ),
    Ablation(
        "commit guard",
        "a position is committed behind its acknowledged changelog record",
        {"tests.model.streams.committable": without.commit_all},
        "crash",
        "o1 is lost",
        50,
    ),
    Ablation(
        "refused send",
        "a worker whose changelog record is refused ends",
        {"tests.model.streams.Compaction.refused": without.drop_and_go_on},
        "crash",
        "o0 is lost",
        320,
    ),
    Ablation(
        "contiguity",
        "the consumer hands over every record",
        {"tests.model.streams.Compaction.fold_next": without.skip_some},
        "plain",
        "o4 is lost",
        0,
    ),
    Ablation(
        "local store",
        "only what is acknowledged survives a worker in its store",
        {"tests.model.streams.Compaction.assign": without.keep_local_store},
        "crash",
        "carts holds another state",
        325,
    ),
    Ablation(
        "row guard",
        "the sink replaces a row by a higher version only",
        {"carts.protocol.row_replaced": without.always},
        "zombie",
        "the row falls",
        95,
    ),
    Ablation(
        "expired states",
        "an expired cart is a state, not a deletion",
        {"carts.fold._expire": without.expire_at_once},
        "expire",
        "purged a cart with lines",
        10,
    ),
    Ablation(
        "void",
        "a write that did not know of an expiry revives the cart",
        {"carts.fold._voids": without.nothing},
        "expire",
        "the cart () is not the changes",
        10,
    ),
    Ablation(
        "void by ignorance",
        "so does a write that the expiry did not know, not only the next one",
        {"carts.fold._voids": without.void_exact},
        "expire",
        "the cart",
        30,
    ),
    Ablation(
        "expiry clock",
        "an expiry gets its version from the clock",
        {"carts.fold._expire": without.expire_old_clock},
        "late_write",
        "the cart",
        0,
    ),
    Ablation(
        "expiries are no writes",
        "an expiry does not move the floor",
        {"carts.state.newest_write": without.newest_of_all},
        "idle_backlog",
        "o2 is lost",
        0,
    ),
    Ablation(
        "anti-entropy",
        "what Redis knows, carts does not and no outbox holds is published again",
        {"tests.model.sinks.AntiEntropy.look": without.never},
        "skip",
        "Redis (",
        90,
    ),
    Ablation(
        "republishing age",
        "but nothing so old that the floor or a retry may have passed it",
        {"carts.protocol.may_republish": without.republish_any_age},
        "late_healing",
        "o0 is applied 2 times",
        570,
    ),
    Ablation(
        "purge floor",
        "nothing at or below the highest version deleted comes back",
        {"carts.fold.fold": without.fold_without_purge_floor},
        "delete",
        "acknowledged o0 is lost",
        0,
    ),
    Ablation(
        "stale copies",
        "a copy or row that lay untouched for too long counts as absent",
        {"carts.protocol.too_stale": without.never},
        "delete_late",
        "version falls in Redis",
        0,
    ),
    Ablation(
        "deletion clears",
        "a null clears only a copy that knows nothing newer",
        {"carts.protocol.deletion_clears": without.always},
        "delete",
        "the deletion of",
        0,
    ),
    Ablation(
        "deletion of rows",
        "a null deletes only a row that is not newer",
        {"carts.protocol.row_deleted": without.always},
        "delete_zombie",
        "the deletion of",
        200,
    ),
    Ablation(
        "purge guard",
        "a purge deletes only the expired state that it has seen, long enough ago",
        {"carts.fold._purge": without.purge_whatever},
        "delete",
        "purged a cart with lines",
        30,
    ),
    Ablation(
        "erased floor",
        "whatever an erased cart held is below its floor, however late it arrives",
        {"carts.fold.erase": without.erase_and_keep_the_floor},
        "erase",
        "the table still has",
        0,
    ),
    Ablation(
        "decided since",
        "an order leaves alone a line that a set or remove has decided since its snapshot",
        {"carts.content._Draft._withdraw": without.subtract_always},
        "order_mixed",
        "Redis has a negative line",
        550,
    ),
    Ablation(
        "decider of the line",
        "decided since: after the line's own last decision in the snapshot, not after the snapshot",
        {"carts.ordering.lines_to_order": without.lines_decided_by_the_snapshot},
        "order_fork",
        "the cart (",
        40,
    ),
    Ablation(
        "attempts of an order",
        "an attempt above the one that an order has counted is a duplicate",
        {
            "carts.fold.overrule": tuple,
            "carts.state.overrule": tuple,
            "carts.ordering.overrule": tuple,
        },
        "order_twice",
        "the cart (",
        170,
    ),
    Ablation(
        "orders outlive the window",
        "a cart knows its orders after their entries have left the window",
        {"carts.fold.trim": without.trim_and_forget_orders},
        "order_elsewhere",
        "does not come to rest",
        0,
    ),
    Ablation(
        "entries of known orders",
        "a further attempt of such an order gets an entry that counts for nothing: Redis's copy is covered",
        {"carts.fold._write": without.order_known_without_an_entry},
        "order_twice",
        "Redis (",
        100,
    ),
    Ablation(
        "one order after the other",
        "a snapshot is ordered only if it knows the cart's latest order",
        {"carts.ordering.may_follow": without.always},
        "order_old_row_adds",
        "reply says kafka",
        0,
    ),
    Ablation(
        "subtraction on the union",
        "an order is subtracted from the union of the folded record and Redis's copy",
        {"tests.model.redis_mirror.subtract": without.subtract_on_the_copy},
        "order",
        "restored (",
        1285,
    ),
    Ablation(
        "records behind",
        "an order is not subtracted from a record that is behind its snapshot",
        {"carts.ordering.may_subtract": without.subtract_from_any},
        "order_old_row",
        "Redis has a negative line",
        300,
    ),
    Ablation(
        "records behind the window",
        "nor from one that lacks what has left the window of Redis's copy",
        {"carts.ordering.may_unite": without.always},
        "order_behind_the_window_adds",
        "a subtraction hides",
        0,
    ),
    Ablation(
        "overdue orders",
        "the fold has an order name the attempts of now, not those that have left the window for nothing",
        {"carts.fold.renewed": without.as_ordered},
        "order_behind_adds",
        "o1 is applied",
        0,
    ),
    Ablation(
        "overdue orders in Redis",
        "and so has the subtraction in Redis",
        {"carts.ordering.renewed": without.as_ordered},
        "order_behind_adds",
        "Redis shows an operation twice",
        60,
    ),
    Ablation(
        "attempts that leave",
        "and does so a little before they leave: later writes may be folded before it",
        {"carts.ordering.leaving": without.left_already},
        "order_overdue",
        "version ",
        3300,
    ),
    Ablation(
        "rebase",
        "a late complete orders no more than the cart still has",
        {"carts.ordering.rebase": without.lines_as_handed_out},
        "order_elsewhere_adds",
        "Redis has a negative line",
        0,
    ),
)
