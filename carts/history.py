"""A cart as it was: its recorded operations, folded again up to a version. Pure.

The operations come in the order in which they were first folded, not in that of their versions: an expiry
counts only on the very state that it has seen.
"""

from collections.abc import Container, Iterable, Iterator, Sequence

from carts.fold import Verdict, fold
from carts.limits import TIMING, Timing
from carts.operations import Change, Erase, Expire, Purge
from carts.state import State


def beginning(changes: Sequence[Change]) -> int | None:
    """The index of the first change from which the cart can be folded, None if it is older than the changes.

    That is where the cart was born or erased. A change that has overtaken the one that the cart was born
    with counts as the birth. What comes after changes of an unknown cart is a birth only after a purge.
    """
    named = {change.born for change in changes if change.born}
    births = {
        change.version
        for change in changes
        if not change.previous_version and change.version in named and change.born in {0, change.version}
    }
    is_open = True
    for index, change in enumerate(changes):
        match change.delta:
            case (Erase(),):
                return 0  # nothing of before is left: what stands before it has overtaken it
            case (Purge(),):
                is_open = True
            case (Expire(),):
                pass
            case _ if is_open and (change.born or change.version) in births:
                return index
            case _:
                is_open = False
    return None


def replay(
    changes: Iterable[Change], *, retention_us: int = 0, timing: Timing = TIMING
) -> Iterator[State | None]:
    """The state of the cart after each of its changes, from a beginning; None: there is no such cart.

    `retention_us` is how long an expired cart stays.
    """
    state: State | None = None
    purge_floor = 0
    for change in changes:
        outcome = fold(state, change, purge_floor=purge_floor, retention_us=retention_us, timing=timing)
        if outcome.verdict is Verdict.DELETED and state is not None:
            purge_floor = max(purge_floor, state.version_number)
        state = outcome.state
        yield state


def has_gap(changes: Sequence[Change], versions: Container[int]) -> bool:
    """Whether a change was made on a version that is missing among the changes, from a beginning.

    `versions` are those of the changes and of the states that they make.
    """
    if not changes:
        return False
    first = min(change.version for change in changes)
    return any(
        change.previous_version not in versions
        for change in changes
        if change.previous_version is not None and change.previous_version > first
    )
