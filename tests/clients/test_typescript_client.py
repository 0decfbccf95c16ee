"""The TypeScript client: types as the OpenAPI document says, and its own tests against a real gateway."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.node_package import FOLDER, TYPES, make_types

pytestmark = pytest.mark.client

TESTS = sorted(file.name.removesuffix(".ts") for file in (FOLDER / "test").glob("*.test.ts"))


def test_its_types_are_those_of_the_openapi_document(package: Path, tmp_path: Path) -> None:
    assert package.is_dir()
    made = tmp_path / "schema.ts"
    make_types(made)
    assert made.read_text() == TYPES.read_text(), "the document has changed: run `make client`"


def test_its_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (FOLDER / "package-lock.json").read_text()


@pytest.mark.parametrize("name", TESTS)
def test_its_own_tests_pass(package: Path, shop: dict[str, str], name: str) -> None:
    command = ["node", "--test", "--test-reporter=spec", str(package / "build" / f"{name}.js")]
    # What it prints is pytest's to show, also of a test that is never done.
    assert subprocess.run(command, cwd=package, env={**os.environ, **shop}, check=False).returncode == 0
