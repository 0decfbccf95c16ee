"""No change of the records breaks a reader unnoticed."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from carts.content import Content, Line
from carts.operations import KINDS, Change, Operation
from carts.state import State
from carts.view import CartView
from topics.codec import decode_cart, decode_change, encode_cart, encode_change
from topics.compatibility import generate, main, violations, write
from topics.headers import version_header
from topics.published import FOLDER, Example, examples, record_specs
from topics.records import CartRecord
from topics.registry import RecordSpec


class Wider(Change, frozen=True, kw_only=True):
    """A change with a field more: it may come, as version 3."""

    channel: str | None = None


class Stricter(Change, frozen=True, kw_only=True):
    """A change with a field that old records lack: it may never come."""

    channel: str


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the published schemas and examples, to break."""
    for name in ("schemas", "examples"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    return tmp_path


def add_example(folder: Path, version: int, **fields: object) -> None:
    path = folder / "examples" / "cart-changed" / f"v{version}" / "new.json"
    path.parent.mkdir(exist_ok=True)
    value = {"cart_id": "user:1", "v": 2, "op_id": "x", "delta": [{"kind": "clear"}], **fields}
    path.write_bytes(msgspec.json.encode(Example("user:1", {}, value)))


def test_everything_published_is_compatible() -> None:
    assert violations(record_specs()) == []
    assert main([]) == 0


def test_a_changed_struct_without_a_new_version_fails_and_says_what_to_do(folder: Path) -> None:
    (violation,) = violations([RecordSpec("cart-changed", 2, Wider)], folder)
    assert "no longer describes Wider" in violation
    assert "version 3" in violation


def test_a_further_field_is_a_new_version_that_old_readers_accept(folder: Path) -> None:
    spec = RecordSpec("cart-changed", 3, Wider)
    assert write(spec, folder)
    add_example(folder, 3, channel="app")
    assert violations([spec], folder) == []


def test_a_new_version_without_examples_fails(folder: Path) -> None:
    spec = RecordSpec("cart-changed", 3, Wider)
    write(spec, folder)
    assert any("has no example records" in violation for violation in violations([spec], folder))


def test_a_new_version_that_old_records_do_not_fit_fails(folder: Path) -> None:
    spec = RecordSpec("cart-changed", 3, Stricter)
    write(spec, folder)
    add_example(folder, 3, channel="app")
    assert any(
        "v1/add.json is not valid for cart-changed v3.json" in found for found in violations([spec], folder)
    )


def test_a_new_record_that_old_readers_cannot_take_fails(folder: Path) -> None:
    spec = RecordSpec("cart-changed", 3, Wider)
    write(spec, folder)
    add_example(folder, 3, delta=[{"kind": "teleport"}])
    found = violations([spec], folder)
    assert any("can no longer be read" in violation for violation in found)
    assert any("new.json is not valid for cart-changed v1.json" in violation for violation in found)


def test_only_records_with_a_kind_that_came_later_are_unknown_to_an_older_schema(folder: Path) -> None:
    spec = RecordSpec("cart-changed", 2, Change)
    add_example(folder, 2, delta=[{"kind": "details", "email": "a@b"}])
    assert violations([spec], folder) == []
    add_example(folder, 2, delta=[{"kind": "details", "email": 7}])
    assert any(
        "new.json is not valid for cart-changed v2.json" in found for found in violations([spec], folder)
    )


def test_a_published_schema_is_never_written_over(folder: Path) -> None:
    assert not write(RecordSpec("cart-changed", 2, Wider), folder)
    assert violations([RecordSpec("cart-changed", 2, Change)], folder) == []


def test_a_better_description_is_no_new_version() -> None:
    spec = next(spec for spec in record_specs() if spec.name == "carts")
    assert "description" in str(generate(spec))


def test_the_examples_show_every_kind_of_step() -> None:
    assert {
        kind for _, example in examples("cart-changed") for kind in _found("kind", example.value)
    } == KINDS


@pytest.mark.parametrize("struct", [State, Content, Line, Operation, CartView, CartRecord])
def test_the_examples_show_every_field_of_a_cart(struct: type[msgspec.Struct]) -> None:
    shown = {key for _, example in examples("carts") for key in _keys(example.value)}
    assert {field.encode_name for field in msgspec.structs.fields(struct)} <= shown


def test_the_newest_code_writes_what_it_read_from_the_newest_examples() -> None:
    for _, example in examples("cart-changed"):
        assert (
            msgspec.json.decode(encode_change(decode_change(msgspec.json.encode(example.value))))
            == example.value
        )
    for path, example in examples("carts"):
        if example.value is not None and path.parent.name == "v3":
            cart = decode_cart(msgspec.json.encode(example.value))
            assert msgspec.json.decode(encode_cart(cart)) == example.value


def test_the_version_of_an_example_is_that_of_its_state_and_header() -> None:
    for _, example in examples("carts"):
        header = version_header([(name, value.encode()) for name, value in example.headers.items()])
        assert header is not None
        if example.value is not None:
            cart = decode_cart(msgspec.json.encode(example.value))
            assert cart.version == cart.state.version.tag() == header.tag()
            assert example.key == cart.cart_id


def test_the_purge_floor_example_lies_in_its_partition() -> None:
    ((_, example),) = examples("carts-purge-floor")
    assert example.key == example.headers["source_partition"]


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in _keys(inner)}
    return {key for inner in value for key in _keys(inner)} if isinstance(value, list) else set()


def _found(name: str, value: Any) -> set[str]:
    if isinstance(value, dict):
        inner = {found for entry in value.values() for found in _found(name, entry)}
        return inner | ({value[name]} if isinstance(value.get(name), str) else set())
    return {found for entry in value for found in _found(name, entry)} if isinstance(value, list) else set()
