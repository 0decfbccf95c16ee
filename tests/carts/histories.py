"""Random histories of one cart, and short ways to write down the steps of a fixed one."""

from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from carts.fold import Verdict, fold
from carts.ids import claim_op_id, merge_op_id
from carts.limits import Timing
from carts.operations import (
    Add,
    Change,
    Claim,
    Clear,
    Delta,
    Item,
    Remove,
    Save,
    Set,
    SetDetails,
    SetMetadata,
)
from carts.ordering import lines_to_order, subtraction
from carts.state import State

CART = "user:1"
TIMING = Timing(window_us=50, retry_horizon_us=20, publish_deadline_us=5, republish_margin_us=2)
"""W is 100 in units of v."""

DELTAS = st.one_of(
    st.builds(lambda line, quantity: (add(line, quantity),), st.sampled_from("xy"), st.integers(1, 9)),
    st.builds(lambda line, quantity: (put(line, quantity),), st.sampled_from("xy"), st.integers(0, 9)),
    st.builds(lambda line: (Remove(line),), st.sampled_from("xy")),
    st.just((Clear(),)),
    st.builds(lambda text: (SetMetadata({"note": text}),), st.sampled_from("ab")),
    st.builds(
        lambda line_id, quantity: (Save(line_id, quantity, Item(line_id)),),
        st.sampled_from("xy"),
        st.integers(0, 2),
    ),
    st.builds(
        lambda field, value: (SetDetails(**{field: value}),),
        st.sampled_from(["email", "locale"]),
        st.none() | st.sampled_from("ab"),
    ),
    st.builds(lambda a, b: (add("x", a), put("y", b)), st.integers(1, 9), st.integers(1, 9)),
)
MERGING: dict[str, tuple[str, Delta]] = {
    "claim": (claim_op_id("m"), (Claim("m", "user:2"),)),
    # One transfer: the next is not made before this one is in the folded cart.
    "transfer": (merge_op_id(1, "m"), (Add("x", 7, 100, "EUR", Item("x")),)),
}
_GAPS = st.sampled_from([2, 2, 2, 4, 10, 60, 150])


def add(line_id: str, quantity: int, unit_price: int = 100) -> Add:
    """Add pieces."""
    return Add(line_id, quantity, unit_price, "EUR", Item(line_id))


def put(line_id: str, quantity: int, unit_price: int = 100) -> Set:
    """Set the quantity."""
    return Set(line_id, quantity, unit_price, "EUR", Item(line_id))


def change(v: int, op_id: str, *delta: object, prev: int | None = None) -> Change:
    """A change of the cart."""
    return Change(cart_id=CART, version=v, op_id=op_id, delta=delta, previous_version=prev)  # type: ignore[arg-type]


def subtract(v: int, order_id: str, snapshot: State, *, prev: int | None = None) -> Change:
    """The subtraction of an order over everything that `snapshot` shows."""
    return change(v, order_id, *subtraction(order_id, lines_to_order(snapshot), snapshot), prev=prev)


@st.composite
def changes(draw: st.DrawFn, most: int = 9) -> list[Change]:
    """A cart's changes in version order; some are second attempts of an earlier one, less than W after it."""
    made: list[Change] = []
    v = 20
    for number in range(draw(st.integers(1, most))):
        v += draw(_GAPS)
        young = [earlier for earlier in made if v - earlier.version < 40]
        what = draw(st.sampled_from(["new"] * 6 + ["again", "order", "claim", "transfer"]))
        if what == "again" and young:
            first = draw(st.sampled_from(young))
            op_id, delta = first.op_id, first.delta
        elif what == "order" and made:
            earlier_orders = [at for at, each in enumerate(made, 1) if each.op_id.startswith("s")]
            snapshot = state_of(*made[: draw(st.integers(max(earlier_orders, default=1), len(made)))])
            op_id, delta = f"s{number}", subtract(v, f"s{number}", snapshot).delta
        elif what in MERGING and MERGING[what][0] not in {each.op_id for each in made}:
            op_id, delta = MERGING[what]
        else:
            op_id, delta = f"o{number}", draw(DELTAS)
        prev = made[-1].version if made else 0
        made.append(Change(cart_id=CART, version=v, op_id=op_id, delta=delta, previous_version=prev))
    return made


def folded(made: Iterable[Change], state: State | None = None) -> State | None:
    """The fold of changes."""
    for each in made:
        state = fold(state, each, timing=TIMING).state
    return state


def state_of(*made: Change) -> State:
    """The fold of changes, of which at least one is taken."""
    state = folded(made)
    assert state is not None
    return state


def loses_nothing(made: Sequence[Change]) -> bool:
    """Whether no change of this delivery comes after the floor has passed it for the first time."""
    state: State | None = None
    taken: set[tuple[int, str]] = set()
    for each in made:
        outcome = fold(state, each, timing=TIMING)
        if outcome.verdict is Verdict.BELOW_FLOOR and (each.version, each.op_id) not in taken:
            return False
        if (
            state is not None
            and any(op == each.op_id for _, op in taken)
            and not any(op.op_id == each.op_id for op in state.ops)
        ):
            return (
                False  # a second attempt after the first has left the window: the retry horizon excludes it
            )
        taken.add((each.version, each.op_id))
        state = outcome.state
    return True


def quantities(state: State) -> dict[str, int]:
    """Quantities by line, zero lines left out, negative ones kept."""
    return {line_id: line.quantity for line_id, line in state.content().lines.items() if line.quantity}


def delta(*steps: object) -> Delta:
    """Steps as a delta."""
    return steps  # type: ignore[return-value]
