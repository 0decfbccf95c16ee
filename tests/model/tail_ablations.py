"""The guards of restorations that open after the tail, and of rows that stand in for carts that Redis lacks.

The purge floor that stands beside the rows has no line here: no history needs it any more than the records of
the tail, and a restoration that goes without it only folds changes that compaction refuses.
"""

from typing import Any, Final

from tests.model import tail_without, without
from tests.model.ablations import Ablation

_WITHOUT_A_MARK: Final[dict[str, Any]] = {"tests.model.tail.marker_without_copy": tail_without.same_marker}
"""Where the marker notes that a copy has gone, rows of before do not count, whenever they were read."""

TAIL_ABLATIONS = (
    Ablation(
        "position beside the rows",
        "how far the rows are is written in their transaction, and goes back with them",
        {"tests.model.faults.Faults.rows_fall": tail_without.rows_fall_alone},
        "tail_rows",
        "restored",
        0,
    ),
    Ablation(
        "rows that went back",
        "the sink writes a batch only behind what it has written, or begins again where the rows are",
        {"tests.model.tail.rows_continue": without.always},
        "tail_rows",
        "Postgres (",
        0,
    ),
    Ablation(
        "rows of a restoration",
        "a restoration takes only rows that are as far as when it began",
        {"tests.model.tail.rows_stand_at": without.always},
        "tail_rows",
        "restored",
        235,
    ),
    Ablation(
        "end of carts",
        "a restoration asks for the end of carts after it has asked for compaction's committed offset",
        {"tests.model.restoring.Restore.order": tail_without.ends_first},
        "tail_ends",
        "restored",
        0,
    ),
    Ablation(
        "end of the changes",
        "and for the end of the changes after its token stands",
        {"tests.model.restoring.Restore.begin": tail_without.end_before_the_token},
        "tail_order_cold",
        "restored",
        0,
    ),
    Ablation(
        "followed from",
        "Redis is followed from where carts was read to, not from its end",
        {"tests.model.restoring.Restore.follow_from": tail_without.follow_from_the_present_end},
        "tail_inflight",
        "neither Redis nor the row",
        0,
    ),
    Ablation(
        "second attempts at restoring",
        "a restoration begins no later in carts than an earlier one that has put something here",
        {"tests.model.tail.tail_start": tail_without.start_at_the_rows},
        "tail_cold_any",
        "a reader misses",
        115,
    ),
    Ablation(
        "base in a tail: the row",
        "the base of a cart in the tail is its row, if that is higher than the record",
        {"tests.model.tail.restoration_base": tail_without.record_alone},
        "tail_flush",
        "restored",
        0,
    ),
    Ablation(
        "base in a tail: the record",
        "and the record, if that is the higher one",
        {"tests.model.tail.restoration_base": tail_without.row_alone},
        "tail_rows",
        "restored",
        0,
    ),
    Ablation(
        "expired copies",
        "an expired state is put as a copy, not as absence",
        {"tests.model.tail.put_outcome": tail_without.put_as_absence},
        "tail_expire",
        "restored",
        0,
    ),
    Ablation(
        "age of expired copies",
        "it stays for longer than a miss counts",
        {"tests.model.tail.expired_copy_may_go": tail_without.go_at_once, **_WITHOUT_A_MARK},
        "tail_expire_drop",
        "Redis (",
        0,
    ),
    Ablation(
        "rows of expired copies",
        "and until its row is as far",
        {"tests.model.tail.expired_copy_may_go": tail_without.go_with_age},
        "tail_expire_drop",
        "neither Redis nor the row",
        0,
    ),
    Ablation(
        "mark of expired copies",
        "from then on rows count only if they are as far, for they may be put back",
        _WITHOUT_A_MARK,
        "tail_expire_put_back",
        "neither Redis nor the row",
        0,
    ),
    Ablation(
        "marker of a miss",
        "a row counts only as long as the partition is the one that lacked the cart",
        {"tests.model.tail.row_counts": tail_without.any_marker},
        "tail_rows",
        "a reader misses",
        250,
    ),
    Ablation(
        "position of a row",
        "and if the rows are as far as when that was restored",
        {"tests.model.tail.row_counts": tail_without.any_position},
        "tail_rows",
        "a reader misses",
        0,
    ),
    Ablation(
        "age of a miss",
        "and for a while",
        {"tests.model.tail.row_counts": tail_without.any_age, **_WITHOUT_A_MARK},
        "tail_expire_drop",
        "Redis (",
        0,
    ),
    Ablation(
        "a look of its own",
        "and if it was read after the miss",
        {"tests.model.cold_carts.ColdCarts.joins": without.always, **_WITHOUT_A_MARK},
        "tail_expire_drop",
        "Redis (",
        0,
    ),
    Ablation(
        "remembered absence",
        "that there is no row is remembered under its marker",
        {"tests.model.tail.absence_remembered": without.always},
        "tail_expire_late",
        "a reader misses",
        120,
    ),
    Ablation(
        "withdrawals from cold carts",
        "what is taken out of a cart that Redis lacks is taken out of its row, brought in before",
        {"tests.model.cold_carts.ColdCarts.bring_in": tail_without.absent_is_enough},
        "tail_order_stale",
        "a reader misses",
        0,
    ),
    Ablation(
        "warming from rows",
        "what is brought in that nobody has asked for comes from the rows, too",
        {"tests.model.restoring.Warm.bring_in": tail_without.put_the_record},
        "tail_cold",
        "a reader misses",
        0,
    ),
    Ablation(
        "minted ids",
        "a new cart needs no look for its row if it got its id after the marker was set",
        {"tests.model.tail.minted_since": without.always},
        "tail_cold",
        "a reader misses",
        0,
    ),
)
