"""What an upgrade of a library takes away is named, and no other private part of it is used."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer

from delivery import faust_internals
from gateway import tallies
from gateway.server import sanic_internals
from runtime.kafka import internals
from runtime.private_parts import PrivatePart, missing
from store.redis import redis_internals

ROOT = Path(__file__).parents[2]
FOREIGN = ("faust", "mode", "aiokafka", "sanic", "redis", "prometheus_client")
LIBRARIES = {
    "faust-streaming": faust_internals,
    "aiokafka": internals,
    "sanic": sanic_internals,
    "redis": redis_internals,
    "prometheus_client": tallies,
}

OWNING = re.compile(
    r"^(from|import) (delivery|faust|mode|aiokafka|sanic|prometheus_client|gateway\.server)\b", re.MULTILINE
)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_installed_version_has_every_private_part_that_is_used(library: str) -> None:
    assert missing(library, LIBRARIES[library].PARTS) == []


def test_a_method_that_an_upgrade_took_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(AIOKafkaConsumerThread, "_fetch_records")
    (sentence,) = missing("faust-streaming", faust_internals.PARTS)
    assert sentence.startswith("faust-streaming ")
    assert sentence.endswith(
        " has no faust.transport.drivers.aiokafka.AIOKafkaConsumerThread._fetch_records any more,"
        " which is used to learn from each answer of the broker which offsets do not exist"
    )


def test_a_method_that_an_upgrade_has_changed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Consumer, "_to_message", lambda self, record: (self, record))
    (sentence,) = missing("faust-streaming", faust_internals.PARTS)
    assert "Consumer._to_message" in sentence
    assert "takes record, no longer tp, record: it is used to make runs of records" in sentence


def test_an_attribute_that_instances_no_longer_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroupCoordinator, "__init__", lambda *_: None)
    sentences = missing("aiokafka", internals.PARTS)
    assert any("GroupCoordinator._group_instance_id any more" in sentence for sentence in sentences)


def test_private_parts_are_used_in_no_other_module() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in product_files()
        if path.name not in {module.__name__.rpartition(".")[2] + ".py" for module in LIBRARIES.values()}
        for line in path.read_text().splitlines()
        if "SLF001" in line
    ]
    assert found == []


def test_private_methods_are_overridden_and_called_in_no_other_module() -> None:
    found = [
        f"{module.__name__}.{owner.__name__}.{name} is private to {base.__module__}"
        for module in product_modules()
        if module not in {faust_internals, sanic_internals, tallies}
        for owner in classes_of(module)
        for name in private_names(ast.parse(textwrap.dedent(inspect.getsource(owner))))
        for base in owner.__mro__
        if base.__module__.split(".")[0] in FOREIGN and has(base, name)
    ]
    assert found == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_private_part_that_is_used_is_named(library: str) -> None:
    module = LIBRARIES[library]
    tree = ast.parse(inspect.getsource(module))
    assert private_names(tree) - {part.name for part in module.PARTS} == set()


def product_files() -> Iterator[Path]:
    for folder in sorted(path.parent for path in ROOT.glob("*/__init__.py")):
        if folder.name not in {"tests", "benchmarks"}:
            yield from folder.rglob("*.py")


def product_modules() -> Iterator[ModuleType]:
    """Those that make classes of a library their own."""
    for path in product_files():
        if OWNING.search(path.read_text()):
            yield importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def classes_of(module: ModuleType) -> Iterator[type[Any]]:
    for each in vars(module).values():
        if inspect.isclass(each) and each.__module__ == module.__name__:
            yield each


def private_names(tree: ast.AST) -> set[str]:
    """The private attributes and methods that the code names or defines."""
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {name for name in names if re.match(r"_(?!_)", name)}


def has(base: type[Any], name: str) -> bool:
    return name in vars(base) or missing("aiokafka", [PrivatePart(base, name, "")]) == []
