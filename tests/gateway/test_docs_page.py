"""The page /docs comes whole with the gateway: the renderer as npm has it, and its licence."""

import hashlib
import json
import re
from importlib.resources import files

from gateway.docs.files import OWN, RENDERER, page, page_files

SOURCE = json.loads((RENDERER / "source.json").read_text(encoding="utf-8"))


def test_the_renderer_is_what_the_package_has_and_its_licence_is_with_it() -> None:
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in RENDERER.iterdir()
        if path.name != "source.json"
    }
    assert found == SOURCE["files"]
    assert "Apache License" in (RENDERER / "LICENSE").read_text(encoding="utf-8")


def test_the_page_loads_its_own_files_only_and_has_nothing_inline() -> None:
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page())
    others = {path.removeprefix("/docs/") for path in loaded} - page_files().keys()
    assert others == {"/openapi.json", "data:,"}
    assert re.findall(r"<style|style=|<script>|\son\w+=", page()) == []
    own = "".join((OWN / name).read_text(encoding="utf-8") for name in ("docs.js", "docs.css"))
    assert re.findall(r"https?://|\beval\b|new Function", own) == []


def test_the_files_are_part_of_the_package() -> None:
    package = files("gateway.docs")
    assert all(package.joinpath("renderer", name).is_file() for name in SOURCE["files"])
    patterns = (RENDERER.parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"{pattern}"' in patterns for pattern in ("*.js", "*.css", "*.html", "LICENSE", "NOTICE"))
