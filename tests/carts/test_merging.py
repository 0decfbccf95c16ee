"""What a merge carries over: strategies, prices, what finds no room, what stays, several transfers."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from carts.content import shown
from carts.details import Details
from carts.fold import Verdict, fold
from carts.ids import claim_op_id, transfer_number
from carts.limits import LIMITS, Limits
from carts.merging import Basis, Carried, Merge, Pieces, Strategy, Transfer, knows_transfer, plan
from carts.operations import Add, Change, Finish, Item, Merged, Save, SetDetails
from carts.products import Facts
from carts.state import State, Status, uncovered
from tests.carts.histories import change, quantities, state_of

GUEST, USER = "guest:1", "user:1"
NOW_US = 1000


def wished(quantity: int, line_id: str = "x", price: int = 5, currency: str = "EUR") -> Add:
    """An add of a client."""
    return Add(line_id, quantity, price, currency, Item(line_id))


def cart(*adds: Add, v: int = 20) -> State:
    """A cart with these adds, one operation each."""
    if not adds:
        return State()
    return state_of(*(change(v + 2 * place, f"o{place}", step) for place, step in enumerate(adds)))


def merge(strategy: Strategy = Strategy.SUM) -> Merge:
    """A merge of the guest's cart into the user's."""
    return Merge("m", GUEST, USER, strategy)


def facts(stock: int | None = None, *, price: int = 7, currency: str = "EUR", active: bool = True) -> Facts:
    """A product of the catalogue."""
    return Facts(1, price, currency, stock, active, "Product")


def transfer(
    guest: State,
    user: State,
    strategy: Strategy = Strategy.SUM,
    known: dict[str, Facts | None] | None = None,
    earlier: tuple[Carried, ...] = (),
    limits: Limits = LIMITS,
) -> Transfer:
    """The transfer that is next."""
    basis = Basis(guest, user, known)
    return plan(merge(strategy), basis, earlier, number=1, place=1, now_us=NOW_US, limits=limits)


def after(state: State, op_id: str, delta: tuple[object, ...], v: int = 900) -> State:
    """The state with the operation of a transfer folded into it."""
    made = {"cart_id": "c", "v": v, "op_id": op_id, "delta": msgspec.to_builtins(delta)}
    outcome = fold(state, msgspec.convert(made, Change))
    assert outcome.verdict is Verdict.CHANGED
    assert outcome.state is not None
    return outcome.state


def test_the_user_gets_what_the_guest_loses() -> None:
    guest, user = cart(wished(2), wished(3, "y")), cart(wished(1))
    made = transfer(guest, user)
    assert quantities(after(user, made.merge_op_id, made.additions)) == {"x": 3, "y": 3}
    finished = after(guest, made.finish_op_id, made.withdrawal)
    assert quantities(finished) == {}
    assert (finished.status, finished.merged_into) == (Status.MERGED, USER)
    assert made.is_last


def test_strategies() -> None:
    guest, user = cart(wished(2), wished(9, "y")), cart(wished(5))
    assert [(line.line_id, line.granted) for line in transfer(guest, user, Strategy.SUM).carried] == [
        ("x", 2),
        ("y", 9),
    ]
    assert [(line.line_id, line.granted) for line in transfer(guest, user, Strategy.MAX).carried] == [
        ("x", 0),
        ("y", 9),
    ]
    assert [(line.line_id, line.granted) for line in transfer(guest, user, Strategy.KEEP).carried] == [
        ("x", 0),
        ("y", 9),
    ]
    assert transfer(cart(wished(7)), user, Strategy.MAX).carried == (Carried("x", 7, 2),)


def test_catalogue_prices_are_those_of_now_and_callers_prices_stay() -> None:
    guest = cart(wished(1, price=5))
    (kept,) = transfer(guest, State()).additions
    (priced,) = transfer(guest, State(), known={"x": facts(price=7)}).additions
    assert isinstance(kept, Add)
    assert isinstance(priced, Add)
    assert (kept.unit_price, priced.unit_price) == (5, 7)


def test_pieces_beyond_stock_are_lost_where_some_go_along_and_the_line_stays_where_none_does() -> None:
    guest = cart(wished(5), wished(2, "y"))
    made = transfer(guest, cart(wished(1)), known={"x": facts(4), "y": facts(0)})
    assert made.carried == (Carried("x", 5, 3),)
    assert made.warnings == (Pieces("short_stock", "x", 2),)
    assert made.left == (Pieces("out_of_stock", "y", 2),)
    assert quantities(after(guest, made.finish_op_id, made.withdrawal)) == {"y": 2}


def test_stock_counts_all_lines_of_a_product() -> None:
    red, blue = (Add(f"x~{digit * 12}", 2, 5, "EUR", Item("x", {"c": digit})) for digit in "ab")
    made = transfer(cart(red, blue), State(), known={"x": facts(3)})
    assert [line.granted for line in made.carried] == [2, 1]


def test_what_the_catalogue_does_not_sell_or_another_currency_stays() -> None:
    guest = cart(wished(1), wished(1, "y"), wished(1, "z"))
    made = transfer(
        guest, cart(wished(1, "u")), known={"x": None, "y": facts(active=False), "z": facts(currency="USD")}
    )
    assert [(line.code, line.line_id) for line in made.left] == [
        ("product_unknown", "x"),
        ("product_inactive", "y"),
        ("currency", "z"),
    ]
    assert made.additions == ()
    assert made.place == 0


def test_limits_of_a_cart() -> None:
    full = cart(*(wished(1, f"l{place}") for place in range(3)))
    small = msgspec.structs.replace(LIMITS, lines=3, quantity=4)
    made = transfer(cart(wished(9, "l0"), wished(1, "new")), full, limits=small)
    assert made.carried == (Carried("l0", 9, 3),)
    assert made.warnings == (Pieces("quantity_limit", "l0", 6),)
    assert made.left == (Pieces("line_limit", "new", 1),)


def test_the_largest_subtotal_is_not_exceeded() -> None:
    price = LIMITS.unit_price
    lines = [wished(999, f"l{place}", price) for place in range(9)]
    made = transfer(cart(*lines), State())
    total = sum(line.granted for line in made.carried) * price
    assert total <= 2**53 - 1
    assert {warning.code for warning in (*made.warnings, *made.left)} == {"subtotal_limit"}


def test_many_lines_take_several_transfers() -> None:
    guest = cart(*(wished(1, f"l{place}") for place in range(250)))
    user, seen = State(), 0
    for number in (1, 2, 3):
        made = plan(merge(), Basis(guest, user), number=number, place=number, now_us=NOW_US)
        assert made.is_last == (number == 3)
        user = after(user, made.merge_op_id, made.additions, 900 + number)
        guest = after(guest, made.finish_op_id, made.withdrawal, 900 + number)
        assert (guest.merged_into is not None) == made.is_last
        seen += len(made.carried)
    assert seen == len(quantities(user)) == 250
    assert quantities(guest) == {}


def test_metadata_of_a_line_goes_along_unless_the_user_has_the_line() -> None:
    noted = Add("x", 1, 5, "EUR", Item("x"), {"gift": True})
    (moved,) = transfer(cart(noted), State()).additions
    (added,) = transfer(cart(noted), cart(wished(1))).additions
    assert isinstance(moved, Add)
    assert isinstance(added, Add)
    assert (moved.metadata, added.metadata) == ({"gift": True}, None)


def test_a_transfer_is_known_for_longer_than_the_window_has_it() -> None:
    made = transfer(cart(wished(2)), State())
    user = after(State(), made.merge_op_id, made.additions)
    aged = msgspec.structs.replace(user, base=user.content(), ops=(), floor=950)
    assert knows_transfer(aged, 1, made.decided_version)
    once_more = Change(cart_id=USER, version=5000, op_id=made.merge_op_id, delta=made.additions)
    assert fold(aged, once_more).verdict is Verdict.KNOWN
    assert uncovered(aged, [(5000, made.merge_op_id)]) == []
    assert uncovered(aged, [(5000, "!merge/2/m")]) == [(5000, "!merge/2/m")]


def test_a_cart_born_later_needs_no_earlier_transfer() -> None:
    assert knows_transfer(State(start=2 * NOW_US), 3, 2 * NOW_US)
    assert not knows_transfer(State(start=2 * NOW_US - 1), 3, 2 * NOW_US)


def test_a_claim_marks_the_cart_and_is_known_later() -> None:
    claimed = after(cart(wished(1)), claim_op_id("m"), merge().claim())
    assert (claimed.status, quantities(claimed)) == (Status.CLAIMED, {"x": 1})
    aged = msgspec.structs.replace(claimed, base=claimed.content(), ops=(), floor=950)
    assert aged.status is Status.CLAIMED
    assert aged.remembers(claim_op_id("m"))
    assert not aged.remembers(claim_op_id("n"))


def test_numbers_of_transfers_are_read_from_their_ids() -> None:
    made = transfer(cart(wished(1)), State())
    assert transfer_number(made.merge_op_id) == transfer_number(made.finish_op_id) == 1
    assert transfer_number("!claim/m") is transfer_number("merge/1/m") is None


CARTS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 12), max_size=4)


@given(CARTS, CARTS, st.sampled_from(Strategy), st.integers(0, 20) | st.none())
def test_no_piece_is_made_or_lost_silently(
    first: dict[str, int],
    owned: dict[str, int],
    strategy: Strategy,
    stock: int | None,
) -> None:
    """What left the guest reached the user, was lost with a warning, or was left out by the strategy."""
    known: dict[str, Facts | None] | None = None if stock is None else {name: facts(stock) for name in "abcd"}
    guest, user = (
        cart(*(wished(n, name) for name, n in first.items())),
        cart(*(wished(n, name) for name, n in owned.items())),
    )
    made = transfer(guest, user, strategy, known)
    before, there = quantities(guest), quantities(user)
    user_after = after(user, made.merge_op_id, made.additions) if made.additions else user
    rest = quantities(after(guest, made.finish_op_id, made.withdrawal))
    assert rest == {line.line_id: line.quantity for line in made.left}
    lost = {warning.line_id: warning.quantity for warning in made.warnings}
    for line in made.carried:
        assert line.taken == before[line.line_id]
        assert quantities(user_after).get(line.line_id, 0) == there.get(line.line_id, 0) + line.granted
        if strategy is Strategy.SUM:
            assert line.granted + lost.get(line.line_id, 0) == line.taken
    if stock is not None:
        assert all(
            line.quantity <= max(stock, there.get(line_id, 0))
            for line_id, line in shown(user_after.content())
        )
    assert isinstance(made.withdrawal[0], Finish)
    assert isinstance(made.withdrawal[-1], Merged)


@given(CARTS, CARTS, CARTS, st.sampled_from(Strategy))
def test_two_transfers_give_what_one_gives(
    first: dict[str, int], late: dict[str, int], owned: dict[str, int], strategy: Strategy
) -> None:
    user = cart(*(wished(n, name) for name, n in owned.items()))
    both = {name: first.get(name, 0) + late.get(name, 0) for name in (*first, *late)}
    clean = transfer(cart(*(wished(n, name) for name, n in both.items())), user, strategy)
    expected = quantities(after(user, clean.merge_op_id, clean.additions) if clean.additions else user)

    made = transfer(cart(*(wished(n, name) for name, n in first.items())), user, strategy)
    halfway = after(user, made.merge_op_id, made.additions) if made.additions else user
    second = plan(
        merge(strategy),
        Basis(cart(*(wished(n, name) for name, n in late.items())), halfway),
        made.carried,
        number=2,
        place=2,
        now_us=NOW_US,
    )
    found = quantities(
        after(halfway, second.merge_op_id, second.additions, 950) if second.additions else halfway
    )
    assert found == expected


def test_the_first_transfer_brings_the_details_that_the_user_lacks() -> None:
    known = SetDetails(email="guest@example.org", codes=("X",))
    guest = state_of(change(20, "o1", known), change(22, "o2", wished(2)))
    user = state_of(change(20, "o1", SetDetails(email="ada@example.org", locale="en")))
    made = transfer(guest, user)
    merged = after(user, made.merge_op_id, made.additions).content().details
    assert merged == Details(email="ada@example.org", codes=("X",), locale="en")
    assert transfer(guest, user, earlier=(Carried("y", 1, 1),)).additions == (wished(2),)


def test_details_alone_reach_the_user_and_those_without_room_do_not() -> None:
    guest = state_of(change(20, "o1", SetDetails(email="guest@example.org")))
    made = transfer(guest, State())
    assert made.place == 1
    assert after(State(), made.merge_op_id, made.additions).content().details.email == "guest@example.org"
    assert transfer(guest, State(), limits=Limits(content_bytes=20)).additions == ()


def test_lines_and_details_of_a_transfer_are_no_more_steps_than_an_operation_may_have() -> None:
    adds = [wished(1, f"sku-{number}") for number in range(5)]
    guest = state_of(
        change(20, "o0", SetDetails(locale="de")),
        *(change(22 + 2 * n, f"o{n + 1}", add) for n, add in enumerate(adds)),
    )
    made = transfer(guest, State(), limits=Limits(steps=3))
    assert len(made.additions) == 3
    assert not made.is_last


def test_what_is_saved_for_later_goes_along_as_far_as_there_is_room() -> None:
    guest = state_of(change(20, "o1", *(Save(name, 1, Item(name)) for name in "abc")))
    user = state_of(change(20, "o1", Save("a", 5, Item("a"))))
    made = transfer(guest, user, limits=Limits(saved_lines=2))
    merged = after(user, made.merge_op_id, made.additions).content().saved
    assert {line_id: line.quantity for line_id, line in merged.items()} == {"a": 5, "b": 1}
    assert transfer(guest, user, earlier=(Carried("y", 1, 1),)).additions == ()


def test_a_transfer_has_no_more_steps_than_a_change_may_have() -> None:
    saved = (Save(f"s{place}", 1, Item(f"s{place}"), {}) for place in range(40))
    guest = state_of(
        *(change(20 + 2 * place, f"s{place}", step) for place, step in enumerate(saved)),
        *(change(120 + 2 * place, f"l{place}", wished(1, f"l{place}")) for place in range(LIMITS.steps)),
    )
    made = transfer(guest, State())
    assert len(made.additions) == LIMITS.steps
    assert not made.is_last
    user = after(State(), made.merge_op_id, made.additions)
    rest = after(guest, made.finish_op_id, made.withdrawal)
    second = plan(merge(), Basis(rest, user), made.carried, number=2, place=2, now_us=NOW_US)
    assert second.is_last
    user = after(user, second.merge_op_id, second.additions, 950)
    assert len(quantities(user)) == LIMITS.steps
    assert len(user.content().saved) == 40


def test_what_stands_beside_the_lines_goes_along_once() -> None:
    guest = state_of(change(20, "s", Save("x", 1, Item("x"), {})))
    made = transfer(guest, State())
    merged = after(guest, made.finish_op_id, made.withdrawal)
    assert transfer(merged, State()).additions == ()
