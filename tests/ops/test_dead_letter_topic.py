"""Which letters may go back, and which not: the decisions alone."""

import msgspec
import pytest

from carts.fold import fold
from carts.state import State
from ops.dead_letter_topic import (
    Action,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterId,
    Handled,
    Listed,
    Mark,
    judge,
    mark_headers,
    page,
    read,
)
from streams.decisions import Rules
from tests.sinks.cart_records import add, grow
from topics.codec import encode_cart, encode_change
from topics.partitioner import partition_of
from topics.records import LetterMarkHeaders, cart_record
from topics.registry import CART_CHANGED, CART_MERGES, CARTS, ORDERS, PRODUCTS

RULES = Rules(retention_us=30 * 86_400 * 1_000_000, max_bytes=4 << 20)
CART = "user:1"


def letter(
    value: bytes | None,
    *,
    topic: str = CART_CHANGED.name,
    code: str = "invalid",
    key: bytes | None = b"user:1",
) -> DeadLetter:
    found = read(
        DeadLetterId(0, 1),
        key,
        value,
        [
            ("ce_id", b"x"),
            ("dlq_error_code", code.encode()),
            ("dlq_source_topic", topic.encode()),
            ("dlq_source_partition", b"3"),
        ],
    )
    assert isinstance(found, DeadLetter)
    return found


def judged(one: DeadLetter, held: State | None = None, purge_floor: int = 0) -> tuple[Action, str]:
    value = None if held is None else encode_cart(cart_record(CART, held))
    judgement = judge(one, value, purge_floor, 16, RULES)
    return judgement.action, judgement.detail


CHANGE = encode_change(add(CART, 1))


def test_a_change_that_compaction_can_take_now_goes_to_its_right_partition() -> None:
    judgement = judge(letter(CHANGE), None, 0, 16, RULES)
    assert (judgement.action, judgement.partition) == (Action.PUBLISH, partition_of(b"user:1", 16))


def test_a_change_that_the_cart_has_is_not_published_again() -> None:
    assert judged(letter(CHANGE), grow(CART, 2))[0] is Action.KNOWN


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (letter(b"not JSON"), "not_json"),
        (letter(None), "empty"),
        (
            letter(msgspec.json.encode({"cart_id": CART, "v": 2, "op_id": "x", "delta": [{"kind": "?"}]})),
            "unknown_kind",
        ),
        (letter(CHANGE, key=b"user:2"), "wrong_key"),
        (letter(CHANGE, key=None), "no key"),
        (letter(CHANGE, code="below_purge_floor"), "deleted"),
        (letter(CHANGE, topic=CARTS.name), "rebuild --partition 3"),
        (letter(CHANGE, topic=PRODUCTS.name), "through the API"),
        (letter(CHANGE, topic=CART_MERGES.name), "no agent"),
        (letter(CHANGE, topic=""), "no agent"),
    ],
)
def test_what_cannot_go_back_is_refused_with_a_reason(one: DeadLetter, reason: str) -> None:
    action, detail = judged(one)
    assert action is Action.REFUSE
    assert reason in detail


def test_an_order_goes_back_whatever_compaction_would_say_of_it() -> None:
    judgement = judge(letter(b"{}", key=b"order-1", topic=ORDERS.name), None, 0, 16, RULES)
    assert (judgement.action, judgement.partition) == (Action.PUBLISH, partition_of(b"order-1", 16))


def test_a_change_of_a_deleted_cart_is_refused() -> None:
    action, detail = judged(letter(CHANGE), None, purge_floor=add(CART, 1).version)
    assert action is Action.REFUSE
    assert "below_purge_floor" in detail


def test_a_change_below_the_floor_of_its_cart_is_refused() -> None:
    late = fold(grow(CART, 1), add(CART, 2, first=add(CART, 1).version + 2 * 3600 * 1_000_000)).state
    action, detail = judged(letter(encode_change(add(CART, 3, first=2_000_000))), late)
    assert action is Action.REFUSE
    assert "through the API" in detail


def test_a_mark_is_read_as_it_was_written_and_as_the_contract_says() -> None:
    mark = Mark(DeadLetterId(7, 3), Handled.DROPPED, "why", "2025-11-25T10:12:00+00:00")
    headers = mark_headers(mark)
    assert read(DeadLetterId(7, 9), None, None, headers) == mark
    msgspec.convert({name: text.decode() for name, text in headers}, LetterMarkHeaders)
    assert read(DeadLetterId(7, 9), None, None, [("dlq_letter", b"?")]) is None


def test_replaying_takes_the_headers_of_the_source_along_and_no_others() -> None:
    assert letter(CHANGE).headers == [("ce_id", b"x")]


def test_pages_follow_each_other_without_gap_or_overlap() -> None:
    places = [DeadLetterId(partition, offset) for partition in (0, 1) for offset in (2, 10, 3)]
    letters = [Listed(msgspec.structs.replace(letter(CHANGE), id=place), None) for place in places]
    seen: list[DeadLetterId] = []
    after = None
    while True:
        wanted = DeadLetterFilter(after=after)
        shown, after = page([each for each in letters if wanted.matches(each.letter)], 4)
        seen += [each.letter.id for each in shown]
        if after is None:
            break
    assert seen == sorted(places)


def test_what_cannot_pass_is_not_read() -> None:
    everything = DeadLetterFilter()
    assert [everything.begin_in(partition) for partition in (0, 1)] == [0, 0]
    some = DeadLetterFilter(ids=frozenset({DeadLetterId(1, 9), DeadLetterId(1, 4)}))
    assert [some.begin_in(partition) for partition in (0, 1)] == [None, 4]
    rest = DeadLetterFilter(after=DeadLetterId(1, 4))
    assert [rest.begin_in(partition) for partition in (0, 1, 2)] == [None, 5, 0]


def test_letters_of_one_key_are_asked_for() -> None:
    assert DeadLetterFilter(keys=frozenset({"user:1"})).matches(letter(CHANGE))
    assert not DeadLetterFilter(keys=frozenset({"user:11"})).matches(letter(CHANGE))
    # An empty key, as of a variable that is not set, is no key that a letter has: it is not "all".
    assert not DeadLetterFilter(keys=frozenset({""})).matches(letter(CHANGE))
