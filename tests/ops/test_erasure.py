"""What counts as left over of an erased cart, and by when Kafka has removed old records. Pure."""

from datetime import UTC, datetime, timedelta

import click
import pytest

import cli.erase
from carts.content import Content, Line
from gateway.erasure.certificate import expires
from ops.erasure import Holding, judge
from topics.registry import CART_ABANDONED, CART_CHANGED, CARTS, DEAD_LETTERS, ORDERS

ERASED = 1_001
LINES = Content({"cup": Line("cup", 2, 100)})


@pytest.mark.parametrize(
    ("copy", "is_recorded", "erased", "found"),
    [
        (Holding(LINES, [900], 0), True, 0, True),  # never erased
        (Holding(LINES, [900], 800), True, ERASED, True),  # a copy of before
        (Holding(Content(), [900, ERASED], ERASED - 1), True, ERASED, True),  # an operation of before
        (Holding(Content(), [ERASED], ERASED - 1), True, ERASED, False),
        (Holding(LINES, [ERASED, 1_100], ERASED - 1), True, ERASED, False),  # the shopper is back
        (Holding(LINES, [1_100], 1_050), True, ERASED, False),  # and has been for long
        (Holding(Content(), [], 0), False, 0, True),  # the cart is deleted, this copy is not
    ],
)
def test_only_what_is_of_before_counts(copy: Holding, is_recorded: bool, erased: int, found: bool) -> None:  # noqa: FBT001
    assert judge("Redis", copy, is_recorded=is_recorded, erased=erased).found == found


def test_old_records_are_gone_when_their_last_segment_is() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    days = {each.topic: (each.by - at) / timedelta(days=1) for each in expires(at)}
    assert days == {
        CART_CHANGED.name: 8,
        CARTS.name: 1,
        ORDERS.name: 31,
        CART_ABANDONED.name: 31,
        DEAD_LETTERS.name: 31,
    }


def test_a_cart_is_erased_whichever_unicode_form_its_id_is_typed_in() -> None:
    with click.Context(cli.erase.command) as context:
        named = cli.erase.cart_ids(
            context, context.command.params[0], ["user:Zoe\u0308", "user:Zoë", "user:1"]
        )
    assert named == ["user:Zoë", "user:1"]
