"""The habits hold together: hooks equal `make check`, links lead somewhere, the licence is there."""

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.tables import ROOT


def test_the_hooks_before_a_commit_are_those_of_make_check() -> None:
    dry_run = subprocess.run(
        ["make", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    commands = [line for line in dry_run.stdout.splitlines() if line.startswith(".venv/bin/")]
    hooks = re.findall(r"^ +entry: (.+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert hooks == commands


def test_contributors_find_every_folder_of_code() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/*.py")}
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    layers = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    product = folders - {"tests", "benchmarks", "examples", "docs"}
    assert {folder for folder in folders if f"`{folder}/" not in contributing} == set()
    assert {folder for folder in product if f"`{folder}/" not in layers} == set()


def test_the_licence_is_the_one_that_the_package_names() -> None:
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()


@pytest.fixture(scope="module")
def check_links() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_links", ROOT / "docs" / "check_links.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one page, its index, and a folder of code."""
    (tmp_path / "docs" / "how-to").mkdir(parents=True)
    (tmp_path / "carts").mkdir()
    (tmp_path / "carts" / "fold.py").touch()
    (tmp_path / "docs" / "README.md").write_text("# Docs\n\n[a page](how-to/page.md)\n")
    (tmp_path / "docs" / "how-to" / "page.md").write_text("# A `page`\n\n# A page\n")
    return tmp_path


def test_a_page_with_good_links_and_paths_is_fine(check_links: ModuleType, project: Path) -> None:
    (project / "README.md").write_text(
        "[x](docs/how-to/page.md#a-page-1) `carts/fold.py` `carts/*` `cart-changed/5/0` "
        "`[not a link](nowhere)` [away](https://example.org/x) python -m carts.fold python -m http.server\n"
    )
    assert check_links.complaints(project) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[x](docs/none.md)", "README.md: docs/none.md: no such file"),
        ("[x](docs/how-to/page.md#b)", "README.md: docs/how-to/page.md#b: no such heading"),
        ("`carts/none.py`", "README.md: `carts/none.py`: no such file or folder"),
        ("```sh\npython -m carts.none\n```", "README.md: python -m carts.none: no such module"),
        ("`tests/test_x.py::test_y`", "README.md: tests/test_x.py::test_y: no such test"),
    ],
)
def test_what_leads_nowhere_is_told(
    check_links: ModuleType, project: Path, text: str, complaint: str
) -> None:
    (project / "README.md").write_text(text)
    assert check_links.complaints(project) == [complaint]


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ('"""Held to it by carts/none.py."""', "carts/fold.py: carts/none.py: no such file"),
        ("x = 1  # see `carts/none.lua`", "carts/fold.py: carts/none.lua: no such file"),
        ('"""Run `python -m carts.none`."""', "carts/fold.py: python -m carts.none: no such module"),
        ('def f():\n    "As carts/none.py."', "carts/fold.py: carts/none.py: no such file"),
    ],
)
def test_what_code_says_and_is_not_there_is_told(
    check_links: ModuleType, project: Path, code: str, complaint: str
) -> None:
    (project / "carts" / "fold.py").write_text(code)
    assert check_links.complaints(project) == [complaint]


def test_code_that_names_what_is_there_or_nothing_of_the_project_is_fine(
    check_links: ModuleType, project: Path
) -> None:
    (project / "carts" / "fold.py").write_text(
        '"""See carts/fold.py, docs/how-to/page.md, cart-changed/5/0, and/or https://a.org/carts/none.py."""\n'
        'path = "carts/none.py"\n'
    )
    assert check_links.complaints(project) == []


def test_pages_in_every_folder_are_checked(check_links: ModuleType, project: Path) -> None:
    (project / "carts" / "README.md").write_text("[x](none.md)")
    assert check_links.complaints(project) == ["carts/README.md: none.md: no such file"]


def test_a_page_that_the_index_does_not_list_is_told(check_links: ModuleType, project: Path) -> None:
    (project / "docs" / "how-to" / "other.md").write_text("# Other\n")
    assert check_links.complaints(project) == ["docs/how-to/other.md: not in docs/README.md"]
