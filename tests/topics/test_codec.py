"""A record that cannot be read says why, with a code that can be counted and a sentence that helps."""

from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carts.limits import MAX_SAFE_INTEGER
from carts.operations import KINDS, Add, Change, Item, Operation, Seed
from carts.products import Product
from carts.state import State, Version
from topics.codec import (
    decode_cart,
    decode_change,
    decode_product,
    decode_state,
    decode_version,
    encode_cart,
    encode_change,
    encode_product,
)
from topics.errors import RecordError, RecordErrorCode
from topics.records import cart_record

ADD = Add("sku-1", 2, 1999, "EUR", Item("sku-1", {"size": "M"}), {"note": "für Zoë"})
CHANGE = Change(
    cart_id="user:42",
    version=2_000_000,
    op_id="op-1",
    fingerprint="f",
    delta=(ADD,),
    previous_version=0,
    born=2_000_000,
)
GOOD = msgspec.to_builtins(CHANGE)


def bad(**fields: object) -> bytes:
    return msgspec.json.encode({**GOOD, **fields})


def test_a_change_survives_the_round_trip() -> None:
    assert decode_change(encode_change(CHANGE)) == CHANGE


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert decode_change(bad(colour="red")) == CHANGE


@pytest.mark.parametrize(
    ("value", "code", "says"),
    [
        (None, RecordErrorCode.EMPTY, "no value"),
        (b"", RecordErrorCode.EMPTY, "no value"),
        (b"{", RecordErrorCode.NOT_JSON, "truncated"),
        (b"\xff\xfe", RecordErrorCode.NOT_JSON, "malformed"),
        (b'{"cart_id":"\xff"}', RecordErrorCode.NOT_JSON, "utf-8"),
        (b"[" * 100_000, RecordErrorCode.NOT_JSON, "recursion"),
        (b"[]", RecordErrorCode.INVALID, "object"),
        (b"{}", RecordErrorCode.INVALID, "cart_id"),
        (bad(v="1"), RecordErrorCode.INVALID, "$.v"),
        (bad(v=1.5), RecordErrorCode.INVALID, "$.v"),
        (bad(delta={}), RecordErrorCode.INVALID, "$.delta"),
        (bad(delta=[{"kind": "add"}]), RecordErrorCode.INVALID, "$.delta[0]"),
        (bad(delta=[{}]), RecordErrorCode.INVALID, "kind"),
        (bad(delta=["add"]), RecordErrorCode.INVALID, "$.delta[0]"),
        (bad(delta=[{"kind": "teleport"}]), RecordErrorCode.UNKNOWN_KIND, "'teleport'"),
        (bad(delta=[]), RecordErrorCode.BAD_STEPS, "1 to 100"),
        (bad(delta=[{"kind": "clear"}] * 101), RecordErrorCode.BAD_STEPS, "101 steps"),
        (bad(v=0), RecordErrorCode.BAD_VERSION, "v is 0"),
        (bad(v=-2), RecordErrorCode.BAD_VERSION, "v is -2"),
        (bad(v=MAX_SAFE_INTEGER + 1), RecordErrorCode.BAD_VERSION, str(MAX_SAFE_INTEGER)),
        (bad(cart_id="42"), RecordErrorCode.BAD_CART_ID, "user:<id>"),
        (bad(cart_id="user:" + "x" * 129), RecordErrorCode.BAD_CART_ID, "128"),
        (bad(delta=[{"kind": "seed", "state": {"floor": "x"}}]), RecordErrorCode.BAD_SEED, "floor"),
    ],
)
def test_what_is_no_change_is_refused_with_a_code_and_a_sentence(
    value: bytes | None, code: RecordErrorCode, says: str
) -> None:
    with pytest.raises(RecordError) as caught:
        decode_change(value)
    assert caught.value.code == code
    assert says.lower() in caught.value.detail.lower()


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise_anything_else(value: bytes) -> None:
    with suppress(RecordError):
        decode_change(value)


def test_the_kinds_it_knows_are_the_kinds_of_the_struct() -> None:
    (delta,) = (field.type for field in msgspec.structs.fields(Change) if field.name == "delta")
    assert {step.__struct_config__.tag for step in delta.__args__[0].__args__} == KINDS


def test_a_state_is_read_without_the_view_around_it() -> None:
    state = State(ops=(Operation(2_000_000, "op-1", "f", (ADD,)),), born=2_000_000)
    value = encode_cart(cart_record("user:42", state))
    assert decode_state(value) == state
    assert decode_version(value) == state.version
    assert decode_cart(value).state == state


def test_a_tombstone_is_no_cart() -> None:
    with pytest.raises(RecordError, match="no value"):
        decode_cart(None)


def test_a_version_survives_its_tag() -> None:
    version = Version(3528122400000000, 17, 0x0000ABCDEF012345 % 2**48)
    assert Version.parse(version.tag()) == version
    assert Version.parse("3528122400000000") is None
    assert Version.parse("1-2-xyz") is None


def test_a_seed_carries_a_whole_state() -> None:
    state = State(ops=(Operation(2_000_000, "op-1", "f", (ADD,)),), born=2_000_000)
    seed = Change(
        cart_id="user:42", version=4_000_000, op_id="!seed", delta=(Seed(msgspec.to_builtins(state)),)
    )
    (step,) = decode_change(encode_change(seed)).delta
    assert isinstance(step, Seed)
    assert msgspec.convert(step.state, State) == state


PRODUCT = Product(
    product_id="shirt-1",
    version=7,
    name="Für Zoë",
    unit_price=3999,
    currency="EUR",
    attributes={"sizes": ["S"]},
    updated_at=datetime(2025, 11, 25, 9, 0, 0, 5, tzinfo=UTC),
)


def test_a_product_survives_the_round_trip() -> None:
    assert decode_product(encode_product(PRODUCT)) == PRODUCT


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"unit_price": -1}, RecordErrorCode.BAD_PRODUCT, "unit_price is -1"),
        ({"version": 0}, RecordErrorCode.BAD_PRODUCT, "version is 0"),
        ({"description": "a\0b"}, RecordErrorCode.BAD_PRODUCT, "U+0000"),
        ({"name": 1}, RecordErrorCode.INVALID, "$.name"),
        ({"updated_at": "2025-11-25T09:00:00"}, RecordErrorCode.INVALID, "timezone"),
    ],
)
def test_a_product_beyond_its_bounds_is_refused(
    fields: dict[str, object], code: RecordErrorCode, says: str
) -> None:
    with pytest.raises(RecordError) as caught:
        decode_product(msgspec.json.encode({**msgspec.to_builtins(PRODUCT), **fields}))
    assert caught.value.code == code
    assert says in caught.value.detail
