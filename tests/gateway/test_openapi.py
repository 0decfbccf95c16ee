"""The OpenAPI document is valid, has an example for everything that is sent, and says what the code does."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from carts.errors import InvalidIdentifier
from carts.ids import check_cart_id, check_line_id, check_op_id, check_product_id, to_cart_id
from carts.products import InvalidProduct, ProductContent, check_product
from gateway.http.conditions import parse_entity_tags, parse_idempotency_key, parse_prefer
from gateway.http.grammars import CART_ID_IN_PATH, ENTITY_TAGS, identifier
from gateway.http.openapi_problems import EXTRA, NO_OPERATION
from gateway.http.problems import Problem, problem_types
from gateway.openapi import document

# As clients get it: no tuples, no Structs.
API: Final[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(document()))


def operations() -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Each operation with its id and with the parameters of its path and its own."""
    for item in API["paths"].values():
        for method, operation in item.items():
            if method != "parameters":
                parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
                yield operation["operationId"], operation, parameters


OPERATIONS: Final = list(operations())
IDS: Final = [name for name, _, _ in OPERATIONS]


def errors_of(schema: dict[str, Any], value: object) -> list[str]:
    return [str(error) for error in validator_of(msgspec.json.encode(schema)).iter_errors(value)]


@lru_cache
def validator_of(schema: bytes) -> Any:
    whole = msgspec.json.decode(schema) | ({"components": API["components"]} if b"$ref" in schema else {})
    return jsonschema_rs.Draft202012Validator(whole)


def value_of(example: dict[str, Any]) -> Any:
    if "$ref" in example:
        example = API["components"]["examples"][example["$ref"].rpartition("/")[2]]
    return example["value"]


def test_it_is_valid_openapi_3_1() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(API).iter_errors()] == []


def test_every_tag_is_described_and_used() -> None:
    described = {tag["name"] for tag in API["tags"] if tag["description"]}
    assert {tag for _, operation, _ in OPERATIONS for tag in operation["tags"]} == described


@pytest.mark.parametrize(("name", "operation", "parameters"), OPERATIONS, ids=IDS)
def test_everything_that_is_sent_has_an_example_that_follows_its_schema(
    name: str, operation: dict[str, Any], parameters: list[dict[str, Any]]
) -> None:
    for parameter in parameters:
        where = f"{name}: {parameter['name']}"
        assert errors_of(parameter["schema"], parameter["example"]) == [], where
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        for header, described in body.get("headers", {}).items():
            assert "$ref" in described or described["example"], f"{name}: {header}"
        for media_type, content in body.get("content", {}).items():
            where = f"{name}: {media_type}"
            examples = content.get("examples", {})
            assert examples or name in {"readOpenApi", "readDocsFile"}, where
            for each in examples.values():
                assert errors_of(content["schema"], value_of(each)) == [], where


def test_every_type_of_problem_is_answered_by_an_operation_and_shown_with_its_members() -> None:
    answered = {
        slug
        for _, operation, _ in OPERATIONS
        for reply in operation["responses"].values()
        for slug in reply.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert answered == {kind.slug for kind in problem_types() if kind not in NO_OPERATION}
    for kind in problem_types():
        assert set(EXTRA.get(kind, {})) <= set(API["components"]["examples"][kind.slug]["value"])
    enumerated = API["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert set(enumerated) == {kind.uri for kind in problem_types()}


def test_every_operation_says_who_may_ask_and_which_refusals_wait() -> None:
    schemes = set(API["components"]["securitySchemes"])
    for name, operation, _ in OPERATIONS:
        assert {scheme for each in operation["security"] for scheme in each} <= schemes, name
        for status in ("429", "503"):
            reply = operation["responses"].get(status)
            assert reply is None or "Retry-After" in reply["headers"], name


REAL: Final = [
    "user:42",
    "user:ada@example.org",
    "user:auth0|5f7c8ec7c33c6c004bbafe82",
    "user:gid://shopify/Customer/42",
    "user:Jürgen Müller",
    "user:\N{PILE OF POO}",
    "guest:X7Qk2vTzRk2yM0bD3r5w8A",
]
UNREAL: Final = [
    "42",
    "user:",
    "guest:a b",
    "user: x",
    "user:x ",
    'user:"',
    "user:\\",
    "user:a\nb",
    "user:a\n",
]


@pytest.mark.parametrize("cart_id", [*REAL, "me"])
def test_the_document_takes_every_cart_id_that_the_code_takes(cart_id: str) -> None:
    assert cart_id == "me" or check_cart_id(cart_id)
    assert errors_of(CART_ID_IN_PATH, cart_id) == []


@pytest.mark.parametrize("cart_id", [*UNREAL, "user:" + "x" * 129, "user:\N{ZERO WIDTH SPACE}x"])
def test_the_document_refuses_every_cart_id_that_the_code_refuses(cart_id: str) -> None:
    with pytest.raises(InvalidIdentifier):
        to_cart_id(cart_id)
    assert errors_of(CART_ID_IN_PATH, cart_id) != []


@given(st.text(max_size=6), st.sampled_from(["", "user:", "guest:", "a", "~0123456789ab", "!", "."]))
@example("\N{CJK COMPATIBILITY IDEOGRAPH-2F800}", "")
def test_document_and_code_have_the_same_grammars(text: str, beside: str) -> None:
    for name, check in (
        ("cart_id", check_cart_id),
        ("product_id", check_product_id),
        ("line_id", check_line_id),
        ("op_id", check_op_id),
    ):
        # Requests may have ids in any form: they are brought into this one before they are checked.
        for value in (unicodedata.normalize("NFC", each) for each in (beside + text, text + beside)):
            assert _accepts(check, value) == (errors_of(identifier(name), value) == []), (name, value)


@given(st.text(st.sampled_from(" \t\x1f\x7f\x85\xa0\u200b\u2028\u3000\ufeffa"), max_size=4))
def test_document_and_code_have_the_same_names_of_products(name: str) -> None:
    put = API["components"]["schemas"]["PutProduct"]["properties"]
    mug = ProductContent(product_id="mug", name="Mug", unit_price=1, currency="EUR")
    for field in ("name", "category"):
        named = msgspec.structs.replace(mug, **{field: name})
        refusal = pytest.raises(InvalidProduct) if errors_of(put[field], name) else nullcontext()
        with refusal:
            check_product(named)


def test_a_member_that_every_reply_has_is_required_and_a_default_of_a_request_is_not() -> None:
    schemas = API["components"]["schemas"]
    optional = {
        name: {*schemas[name]["properties"]} - {*schemas[name]["required"]}
        for name in ("ShownCart", "ShownLine", "OrderRecord", "Product", "PutProduct", "PlaceOrder")
    }
    assert optional.pop("PutProduct") == {*schemas["PutProduct"]["properties"]} - {
        *("name", "unit_price", "currency"),
    }
    assert "metadata" in optional.pop("PlaceOrder")
    assert optional == {
        "ShownCart": set(),
        "ShownLine": {"name", "image_url"},
        "OrderRecord": set(),
        "Product": set(),
    }


@given(st.from_regex(ENTITY_TAGS["pattern"], fullmatch=True))
def test_preconditions_that_follow_the_document_are_understood(value: str) -> None:
    assert parse_entity_tags("If-Match", value)


def test_examples_of_headers_are_understood() -> None:
    examples = {
        parameter["name"]: parameter["example"]
        for _, _, parameters in OPERATIONS
        for parameter in parameters
        if parameter["in"] == "header"
    }
    assert parse_prefer(examples["Prefer"])
    assert parse_idempotency_key(examples["Idempotency-Key"])
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", examples["traceparent"])


def _accepts(check: Any, value: str) -> bool:
    try:
        return bool(check(value))
    except (InvalidIdentifier, Problem):
        return False
