"""Random steps and requests, and what a cart should answer to them: the oracle of the property tests."""

import hashlib
from typing import Any

import msgspec
from hypothesis import strategies as st

from carts.content import Content, Line, apply, shown, subtotal
from carts.details import NO_DETAILS, Address
from carts.ids import derive_line_id
from carts.limits import LIMITS, MAX_SAFE_INTEGER, Limits
from carts.operations import (
    Add,
    Clear,
    Delta,
    Item,
    Operation,
    Remove,
    Save,
    Set,
    SetDetails,
    SetMetadata,
    Step,
)
from carts.state import State
from store.redis import Reason, RequestStep, SetQuantity
from store.redis.packing import pack_details, pack_line, pack_saved

ITEMS = [
    Item("shoe", {"size": "42", "colour": 'r"ød'}),
    Item("sock"),
    Item("hat.1"),
    Item("tie_2"),
    Item("a-b"),
    Item("gid://shop/Thé 7", {"size": "42"}),
]
LINES = {derive_line_id(item.product_id, item.options): item for item in ITEMS}

line_ids = st.sampled_from([*LINES, *[next(iter(LINES))] * 5])  # few: steps shall meet
quantities = st.integers(1, 4) | st.sampled_from([9, 10])
prices = st.integers(0, 5000) | st.just(2**44 - 1)
currencies = st.sampled_from(["EUR"] * 6 + ["USD"])
metadata: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.text(max_size=3),
    st.text(max_size=12) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none(),
    max_size=2,
) | st.sampled_from(
    [{"gift": {"note": 'a\nb "c" \\ \u2028 \x1f'}}, {"empty": {}, "list": []}, {"long": "x" * 300}]
)

adds = st.builds(
    lambda line_id, quantity, price, currency, about: Add(
        line_id, quantity, price, currency, LINES[line_id], about
    ),
    line_ids,
    quantities,
    prices,
    currencies,
    st.none() | metadata,
)
sets = st.builds(
    lambda line_id, quantity, price, currency, about: Set(
        line_id, quantity, price, currency, LINES[line_id], about
    ),
    line_ids,
    quantities,
    prices,
    currencies,
    st.none() | metadata,
)
set_quantities = st.builds(
    SetQuantity, line_ids, quantities, st.none() | prices, st.none() | currencies, st.none() | metadata
)
texts = st.text(min_size=1, max_size=12)
addresses = st.builds(
    Address,
    name=st.none() | texts,
    lines=st.lists(texts, max_size=2).map(tuple),
    country=st.sampled_from(["DE", "FR"]),
)
named: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "email": st.none() | texts,
        "codes": st.none() | st.lists(texts, max_size=3).map(tuple),
        "shipping_address": st.none() | addresses,
        "billing_address": st.none() | st.just(Address()) | addresses,
        "locale": st.none() | st.sampled_from(["de", "fr-CH"]),
        "shipping_method": st.none() | st.just("express"),
    },
)
details = named.map(lambda fields: SetDetails(**fields))
steps: st.SearchStrategy[RequestStep] = st.one_of(
    adds,
    adds,
    adds,
    sets,
    set_quantities,
    st.builds(Remove, line_ids),
    st.builds(Remove, line_ids),
    st.just(Clear()),
    st.builds(SetMetadata, metadata, st.none() | line_ids),
    details,
    st.builds(
        lambda line_id, quantity, about: Save(line_id, quantity, LINES[line_id], about),
        line_ids,
        st.sampled_from([0, 1, 999]),
        metadata,
    ),
)
deltas = st.lists(steps, min_size=1, max_size=4).map(tuple)


def fingerprint(delta: tuple[RequestStep, ...]) -> str:
    """Equal for equal deltas."""
    return hashlib.sha256(msgspec.json.encode(delta)).hexdigest()[:16]


def completed(step: RequestStep, content: Content) -> Step | None:
    """The step with what the cart's line supplies, none if there is no such line."""
    line_id = getattr(step, "line_id", None)
    line = content.lines.get(line_id) if line_id else None
    there = line is not None and line.quantity > 0
    if isinstance(step, SetQuantity):
        if not there:
            return None
        assert line is not None
        return Set(
            step.line_id,
            step.quantity,
            line.unit_price if step.unit_price is None else step.unit_price,
            step.currency or content.currency or "",
            Item(line.product_id, line.options),
            step.metadata,
        )
    return None if isinstance(step, SetMetadata) and line_id and not there else step


def size(content: Content) -> int:
    """The bytes that the limit on content counts."""
    about = len(msgspec.json.encode(content.metadata)) if content.metadata else 0
    about += len(pack_details(content.details)) if content.details != NO_DETAILS else 0
    about += len(pack_saved(content.saved))
    return about + sum(
        len(f"l:{line_id}".encode()) + len(pack_line(line)) for line_id, line in content.lines.items()
    )


def refusal(
    state: State | None, delta: tuple[RequestStep, ...], limits: Limits
) -> tuple[Reason, int, str | None] | Delta:
    """Why the steps are refused, at which and by which limit; the delta that is applied if they are not."""
    content = Content() if state is None else state.content()
    done: list[Step] = []
    for index, step in enumerate(delta):
        full = completed(step, content)
        if full is None:
            return Reason.LINE_NOT_FOUND, index, None
        if isinstance(full, Add | Set) and _mixes_currencies(full, content):
            return Reason.CURRENCY, index, None
        content = apply(content, [Operation(_LATE, "op", "", (full,))])
        limit = _limit_hit(full, content, limits)
        if limit is not None:
            return Reason.LIMIT, index, limit
        done.append(full)
    return tuple(done)


def _mixes_currencies(step: Add | Set, content: Content) -> bool:
    """A set of the only line of a cart may change its currency."""
    decided = step.line_id if isinstance(step, Set) else None
    others = [line_id for line_id, _ in shown(content) if line_id != decided]
    return content.currency not in {None, step.currency} and bool(others)


_LATE = 2**52
"""As long as any v of a real clock: sizes depend on its digits."""


def _limit_hit(step: Step, content: Content, limits: Limits) -> str | None:
    line = content.lines.get(step.line_id) if isinstance(step, Add | Set) else None
    hits = {
        "saved_lines": len(content.saved) > LIMITS.saved_lines,
        "quantity": line is not None and line.quantity > limits.quantity,
        "lines": len(shown(content)) > limits.lines,
        "tracked_lines": len(content.lines) > limits.tracked_lines,
        "content_bytes": size(content) > limits.content_bytes,
        "subtotal": subtotal(content) > MAX_SAFE_INTEGER,
    }
    return next((name for name, hit in hits.items() if hit), None)


def plain_line(quantity: int = 1) -> Line:
    """A line for states made by hand."""
    return Line("sock", quantity, 100, decided_version=0, added_version=2)
