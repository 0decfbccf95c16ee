"""A kind of step added to `carts.operations.Step` is forgotten nowhere: each test names where to go."""

from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import find

from carts.content import EMPTY, Content, apply
from carts.fold import Verdict, fold
from carts.operations import (
    Add,
    Change,
    Claim,
    ClientStep,
    Duplicate,
    Erase,
    Expire,
    FoldedStep,
    Item,
    Merged,
    Operation,
    Purge,
    Seed,
    SetMetadata,
    Step,
    Subtract,
    Trim,
    Void,
)
from gateway.carts.requests import AnyOperation
from store.postgres.erasure import plain_step
from store.redis.packing import step_arguments
from tests.store.redis.histories import steps
from topics.published import examples
from topics.records import CartChanged
from topics.registry import record_spec_of

MADE_BY_THE_FOLD: Final = {Void, Duplicate}
"""No change may bring them."""
WITHOUT_CONTENT: Final = {Void, Duplicate, Claim, Merged, Purge, Trim, Erase, Seed}
"""They say something about the cart, not about its lines and metadata."""

ALL: Final[tuple[Any, ...]] = get_args(Step)
OF_CLIENTS: Final[tuple[Any, ...]] = get_args(ClientStep)
EXAMPLES: Final = {
    type(step): step
    for _, example in examples("cart-changed")
    for step in msgspec.convert(example.value, Change).delta
}
NOTE: Final = {"note": "before"}
BEFORE: Final[Content] = apply(
    EMPTY,
    [Operation(2, "before", "", (Add("x", 5, 100, "EUR", Item("x"), NOTE), SetMetadata(NOTE)))],
    0,
)


def tag(kind: Any) -> str:
    """The kind's name in the records."""
    return str(kind.__struct_config__.tag)


def example_of(kind: Any) -> Any:
    """A step of this kind, out of the published examples; of one about a line, about a line that is there."""
    folder = f"topics/examples/cart-changed/v{record_spec_of(CartChanged).version}"
    assert kind in EXAMPLES, f"add an example to {folder}/{tag(kind)}.json"
    step = EXAMPLES[kind]
    if isinstance(getattr(step, "line_id", None), str):
        return msgspec.structs.replace(step, line_id="x")
    if isinstance(step, Subtract):
        return msgspec.structs.replace(
            step, lines=(msgspec.structs.replace(step.lines[0], line_id="x", decided_version=2),)
        )
    return step


@pytest.mark.parametrize("kind", ALL, ids=tag)
def test_the_fold_takes_it_or_refuses_it_on_purpose(kind: Any) -> None:
    change = Change(cart_id="user:1", version=2**40, op_id="op", delta=(example_of(kind),))
    refused = fold(None, change).verdict is Verdict.UNSUPPORTED
    assert refused == (kind in MADE_BY_THE_FOLD), (
        f"carts.fold has no case for {tag(kind)}: put it into carts.operations.FoldedStep, or add a case"
    )


@pytest.mark.parametrize("kind", sorted(set(ALL) - WITHOUT_CONTENT, key=tag), ids=tag)
def test_it_makes_a_difference_to_the_content(kind: Any) -> None:
    after = apply(BEFORE, [Operation(2**40, "op", "", (example_of(kind),))], 0)
    assert after != BEFORE, f"carts.content has no case for {tag(kind)}"


def test_what_becomes_content_is_folded_or_has_a_case_of_its_own() -> None:
    assert set(ALL) - WITHOUT_CONTENT == {*get_args(FoldedStep), Expire} - {Claim, Merged}


@pytest.mark.parametrize("kind", OF_CLIENTS, ids=tag)
def test_the_write_script_is_asked_for_it_and_compared_with_the_fold(kind: Any) -> None:
    assert step_arguments(example_of(kind))[0] == tag(kind), "see store.redis.packing.step_arguments"
    # tests/store/redis/test_change_equals_fold.py then finds a script (change.lua) that does not know it.
    assert isinstance(find(steps, lambda step: isinstance(step, kind)), kind), (
        "see tests/store/redis/histories.py"
    )


def test_a_patch_has_an_operation_for_each_kind_of_clients() -> None:
    offered = {tag(operation) for operation in get_args(AnyOperation)}
    assert offered == {tag(kind) for kind in OF_CLIENTS}, "see gateway.carts.requests.AnyOperation"


@pytest.mark.parametrize("kind", OF_CLIENTS, ids=tag)
def test_an_erasure_leaves_nothing_in_it_that_a_shopper_has_written(kind: Any) -> None:
    plain = msgspec.to_builtins(plain_step(example_of(kind)))
    ids = {"kind", "line_id", "quantity", "unit_price", "currency"}
    left = {name: value for name, value in plain.items() if name not in ids and value}
    assert left.keys() <= {"item"}, "see store.postgres.erasure.plain_step"
    assert left.get("item", {}).keys() <= {"product_id"}


@pytest.mark.parametrize("kind", OF_CLIENTS, ids=tag)
def test_the_published_consumer_knows_it(kind: Any) -> None:
    example = Path(__file__).parents[2] / "examples" / "consumers" / "cart_content.py"
    assert f'"{tag(kind)}"' in example.read_text(), f"{example.name} has no case for {tag(kind)}"
