"""The package of the TypeScript client. `python -m tests.clients.node_package` makes its types anew."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from gateway.http.grammars import JSON_VALUE
from gateway.openapi import document
from tests.support.processes import ROOT

FOLDER: Final = ROOT / "clients" / "typescript"
TYPES: Final = FOLDER / "src" / "schema.ts"
MISSING: Final = (
    "the TypeScript client is NOT tested: node 20 or newer, or npm, is missing (apt-get install nodejs npm)"
)
_OLDEST: Final = 20
_OPTIONS: Final = ("--default-non-nullable=false", "--empty-objects-unknown")
"""What has a default may be left out; metadata is any object."""


def has_tools() -> bool:
    """Whether there are npm and a Node.js that is new enough."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return said.startswith("v") and int(said[1:].partition(".")[0]) >= _OLDEST


def npm(*arguments: str) -> None:
    """Run npm in the package. AssertionError with what it said if it fails."""
    ended = subprocess.run(
        ["npm", *arguments],
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"npm {' '.join(arguments)}:\n{ended.stdout}"


def install() -> None:
    """Install exactly what package-lock.json names, unless that has been done since it changed."""
    done = FOLDER / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < (FOLDER / "package-lock.json").stat().st_mtime:
        npm("ci", "--ignore-scripts")


def make_types(into: Path) -> None:
    """Write the types of the gateway's OpenAPI document."""
    described = document()
    # A member of a TypeScript interface cannot be a union with itself in it: any JSON is `unknown`.
    described["components"]["schemas"][JSON_VALUE] = True
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "openapi.json"
        source.write_text(json.dumps(described))
        npm("exec", "--no", "--", "openapi-typescript", str(source), "--output", str(into), *_OPTIONS)


def main() -> None:
    """Make the types anew, and build the package."""
    if not has_tools():
        sys.exit(MISSING)
    install()
    make_types(TYPES)
    npm("run", "build")


if __name__ == "__main__":
    main()
