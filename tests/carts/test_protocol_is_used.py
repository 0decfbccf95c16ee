"""Each rule of carts.protocol governs the product: a process calls it, or a test holds its mirror to it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

from carts import protocol

ROOT = Path(__file__).parents[2]
PRODUCT = ("carts", "cli", "delivery", "gateway", "jobs", "ops", "sinks", "store", "streams", "topics")
RULES = [
    rule
    for name, rule in vars(protocol).items()
    if isinstance(rule, FunctionType) and rule.__module__ == protocol.__name__ and not name.startswith("_")
]
MIRROR = re.compile(r"[Mm]irrored by (.+?), held to it by `(.+?)`")


def names_used(file: Path) -> Iterator[str]:
    """What the file names in its code; imports alone use nothing."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


@pytest.fixture(scope="module")
def called() -> frozenset[str]:
    """Every name that the product uses outside of the protocol."""
    files = (file for package in PRODUCT for file in (ROOT / package).rglob("*.py"))
    return frozenset(name for file in files if file != Path(protocol.__file__) for name in names_used(file))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_is_called_or_mirrored(rule: FunctionType, called: frozenset[str]) -> None:
    mirror = MIRROR.search(" ".join((rule.__doc__ or "").split()))
    assert mirror or rule.__name__ in called, (
        f"nothing runs carts.protocol.{rule.__name__}: call it where the decision is made, or say in its "
        f"docstring `Mirrored by <file>, held to it by <test>`"
    )
    if mirror:
        for mirrored in re.findall(r"`(.+?)`", mirror[1]):
            assert (ROOT / mirrored).is_file(), f"there is no {mirrored}"
        assert rule.__name__ in (ROOT / mirror[2]).read_text(), f"{mirror[2]} does not call {rule.__name__}"
