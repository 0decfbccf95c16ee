"""Headers say what a record is before anyone opens it."""

from datetime import UTC, datetime, timedelta, timezone

from msgspec.structs import replace

from carts.products import Product
from carts.state import Version
from carts.view import Totals
from topics.headers import (
    cart_headers,
    change_headers,
    order_headers,
    product_headers,
    product_tombstone_headers,
    product_version_header,
    purge_floor_headers,
    read_headers,
    tombstone_headers,
    version_header,
)
from topics.records import OrderRecord, OrderStatus
from topics.registry import CART_CHANGED, CARTS, PURGE_FLOORS

V = 2 * 1_764_061_200_123_456
VERSION = Version(V, 17, 0xABC)


def test_a_change_carries_the_required_attributes_of_cloudevents() -> None:
    headers = dict(change_headers("user:42", V, "op-1"))
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"] == b"user:42/%d/op-1" % V
    assert headers["ce_source"] == b"/cartstream/gateway"
    assert headers["ce_type"] == b"cartstream.cart.changed.v1"
    assert headers["content-type"] == b"application/json"
    assert headers["ce_dataschema"] == b"urn:cartstream:schema:cart-changed:2"
    assert headers["ce_subject"] == b"user:42"
    assert headers["cart_v"] == b"%d" % V


def test_the_time_is_that_of_the_script_to_the_microsecond() -> None:
    for micros in (0, 1, 999_999):
        v = 2 * (1_764_061_200_000_000 + micros)
        read = read_headers(change_headers("user:42", v, "op-1"))
        assert read.time == datetime(2025, 11, 25, 9, 0, 0, micros, tzinfo=UTC)


def test_a_change_published_again_has_the_same_headers() -> None:
    assert change_headers("user:42", V, "op-1") == change_headers("user:42", V, "op-1")


def test_a_trace_goes_along() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert read_headers(change_headers("user:42", V, "op-1", traceparent=trace)).traceparent == trace
    assert read_headers(change_headers("user:42", V, "op-1")).traceparent is None


def test_a_cart_says_which_change_it_reflects() -> None:
    read = read_headers(cart_headers("user:42", VERSION, (7, 8812)))
    assert (read.source_partition, read.source_offset) == (7, 8812)
    assert read.cart_version == VERSION.tag()
    assert (read.cart_v, read.cart_n, read.subject) == (V, 17, "user:42")
    assert read.type == "cartstream.cart.state.v1"


def test_a_cart_sent_again_reflects_no_new_change() -> None:
    read = read_headers(cart_headers("user:42", VERSION, None))
    assert (read.source_partition, read.source_offset) == (None, None)


def test_a_tombstone_says_what_it_deletes_and_has_no_content_type() -> None:
    headers = tombstone_headers("user:42", VERSION, (7, 8812))
    assert version_header(headers) == VERSION
    assert "content-type" not in dict(headers)


def test_a_purge_floor_names_its_partition() -> None:
    assert read_headers(purge_floor_headers(3, V, (3, 1))).id == f"purge-floor/3/{V}"


def test_headers_nobody_can_read_are_none_and_break_nothing() -> None:
    read = read_headers(
        [
            ("ce_time", b"yesterday"),
            ("source_partition", b"x"),
            ("source_offset", b"9" * 40),
            ("ce_id", b"\xff"),
        ]
    )
    assert (read.time, read.source_partition, read.source_offset) == (None, None, None)
    assert version_header([("cart_version", b"12")]) is None
    assert version_header([]) is None


def test_an_order_carries_its_version_and_the_time_of_what_happened() -> None:
    placed = OrderRecord(
        order_id="order-1",
        cart_id="user:42",
        seq=1,
        status=OrderStatus.PLACED,
        version=1,
        currency="EUR",
        lines=[],
        totals=Totals(0, 0, 0, 0),
        placed_at=datetime(2025, 11, 25, 9, 0, tzinfo=UTC),
    )
    headers = dict(order_headers(placed))
    assert headers["ce_id"] == b"order-1/1"
    assert headers["ce_type"] == b"cartstream.order.placed.v1"
    assert headers["ce_dataschema"] == b"urn:cartstream:schema:orders:2"
    assert headers["ce_time"] == b"2025-11-25T09:00:00.000000Z"
    assert headers["order_version"] == b"1"
    cancelled_at = datetime(2025, 11, 25, 11, 0, tzinfo=timezone(timedelta(hours=1)))
    cancelled = replace(placed, status=OrderStatus.CANCELLED, version=2, cancelled_at=cancelled_at)
    headers = dict(order_headers(cancelled))
    assert headers["ce_type"] == b"cartstream.order.cancelled.v1"
    assert headers["ce_time"] == b"2025-11-25T10:00:00.000000Z"


def test_a_product_and_its_deletion_carry_the_version_they_are_guarded_by() -> None:
    at = datetime(2025, 11, 25, 10, 0, tzinfo=timezone(timedelta(hours=1)))
    product = Product(
        product_id="shirt-1", version=42, name="Shirt", unit_price=1, currency="EUR", updated_at=at
    )
    headers = dict(product_headers(product))
    assert headers["ce_id"] == b"shirt-1/42"
    assert headers["ce_time"] == b"2025-11-25T09:00:00.000000Z"
    assert headers["ce_dataschema"] == b"urn:cartstream:schema:products:1"
    assert product_version_header(product_headers(product)) == 42
    deleted = product_tombstone_headers("shirt-1", 43, at)
    assert dict(deleted)["ce_type"] == b"cartstream.product.deleted.v1"
    assert "content-type" not in dict(deleted)
    assert product_version_header(deleted) == 43
    assert product_version_header([]) is None


def test_the_schema_is_that_of_the_newest_version() -> None:
    (change,), (cart,), (floor,) = CART_CHANGED.records, CARTS.records, PURGE_FLOORS.records
    assert read_headers(change_headers("user:42", V, "op-1")).dataschema == change.schema_id
    assert read_headers(cart_headers("user:42", VERSION, None)).dataschema == cart.schema_id
    assert read_headers(purge_floor_headers(7, V, None)).dataschema == floor.schema_id
