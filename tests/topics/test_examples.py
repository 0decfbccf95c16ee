"""The example records are what the writers make: headers, values, and where they say they come from."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from carts.state import Version
from gateway.erasure.service import CAUSE as ERASED
from jobs.expiry import CAUSE as AGED
from jobs.expiry import SOURCE as AGEING
from jobs.trimming import CAUSE as TRIMMED
from merges.saga import CAUSE as MERGED
from ops.seeding import CAUSE as RESTORED
from ops.seeding import SOURCE as RESTORE
from tests.docs.tables import ROOT
from topics import headers
from topics.codec import DECODERS, decode_cart
from topics.headers import ERASURE, GATEWAY, Headers
from topics.published import Example, examples, newest_examples, record_specs
from topics.records import cart_record
from topics.registry import Part

NEWEST: Final = [
    pytest.param(spec.name, example, id=f"{spec.name}-{name}")
    for spec in record_specs()
    if spec.part is Part.VALUE
    for name, example in newest_examples(spec).items()
]
WRITERS: Final = {
    (AGEING, AGED),
    (AGEING, TRIMMED),
    (ERASURE, ERASED),
    (GATEWAY, MERGED),
    (GATEWAY, None),  # an order
    (RESTORE, RESTORED),
}
"""Source and cause of changes, apart from those of the gateway's routes."""


def read(name: str, example: Example) -> Any:
    struct = next(spec.type for spec in record_specs() if spec.name == name)
    return DECODERS[struct](msgspec.json.encode(example.value))


def source_of(example: Example) -> tuple[int, int] | None:
    said = example.headers
    return (int(said["source_partition"]), int(said["source_offset"])) if "source_offset" in said else None


def change(example: Example) -> Headers:
    made = read("cart-changed", example)
    said = example.headers
    return headers.change_headers(
        made.cart_id,
        made.version,
        made.op_id,
        source=said["ce_source"],
        traceparent=said.get("traceparent"),
    )


def cart(example: Example) -> Headers:
    if example.value is None:
        version = Version.parse(example.headers["cart_version"])
        assert version is not None
        return headers.tombstone_headers(example.key, version, source_of(example))
    return headers.cart_headers(example.key, read("carts", example).state.version, source_of(example))


def product(example: Example) -> Headers:
    if example.value is None:
        said = headers.read_headers([(name, text.encode()) for name, text in example.headers.items()])
        version = int(example.headers["product_version"])
        assert said.time is not None
        return headers.product_tombstone_headers(example.key, version, said.time)
    return headers.product_headers(read("products", example))


def purge_floor(example: Example) -> Headers:
    floor = read("carts-purge-floor", example).purge_floor
    return headers.purge_floor_headers(int(example.key), floor, source_of(example))


HEADERS: Final[dict[str, Callable[[Example], Headers]]] = {
    "cart-changed": change,
    "carts": cart,
    "carts-purge-floor": purge_floor,
    "products": product,
    "orders": lambda example: headers.order_headers(read("orders", example)),
    "cart-merges": lambda example: headers.merge_headers(read("cart-merges", example)),
    "cart-abandoned": lambda example: headers.abandonment_headers(read("cart-abandoned", example)),
}


@pytest.mark.parametrize(("name", "example"), NEWEST)
def test_an_example_has_the_headers_that_its_writer_makes(name: str, example: Example) -> None:
    made = {name: text.decode() for name, text in HEADERS[name](example)}
    assert list(example.headers.items()) == list(made.items())
    assert example.headers["ce_subject"] == example.key


@pytest.mark.parametrize(("name", "example"), NEWEST)
def test_an_example_has_the_value_that_its_writer_makes(name: str, example: Example) -> None:
    if example.value is None:
        return
    record = read(name, example)
    if name == "carts":
        record = cart_record(example.key, record.state)
    assert msgspec.json.decode(msgspec.json.encode(record)) == example.value


def test_an_example_of_a_change_comes_from_where_changes_come_from() -> None:
    routes = (ROOT / "gateway" / "carts" / "routes.py").read_text(encoding="utf-8")
    for path, example in examples("cart-changed"):
        source, cause = example.headers["ce_source"], example.value.get("cause")
        assert (source, cause) in WRITERS or (source == GATEWAY and f'"{cause}"' in routes), path


def test_a_cart_says_its_version_in_numbers_too() -> None:
    for path, example in examples("carts"):
        if example.value is None or path.parent.name != "v3":
            continue
        version = decode_cart(msgspec.json.encode(example.value)).state.version
        numbers = (version.number, version.operation_count)
        assert (example.value["v"], example.value["n"]) == numbers
        assert (int(example.headers["cart_v"]), int(example.headers["cart_n"])) == numbers
