"""Brings another version of Swagger UI, which shows the API at /docs, into `gateway/docs/renderer/`.

`make renderer VERSION=5.35.0` runs it; it needs npm. Without a version it brings the one that is there, so
`git diff` is empty unless somebody has changed a file. `source.json` says what came from where.
"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "gateway" / "docs" / "renderer"
SOURCE: Final = FOLDER / "source.json"
PACKAGE: Final = "swagger-ui-dist"
FILES: Final = (
    "LICENSE",
    "NOTICE",
    "swagger-ui-bundle.js",
    "swagger-ui-bundle.js.LICENSE.txt",
    "swagger-ui.css",
)


def main() -> None:
    """Bring the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", help="of swagger-ui-dist; the one that is there unless given")
    version = parser.parse_args().version or json.loads(SOURCE.read_text(encoding="utf-8"))["version"]
    with tempfile.TemporaryDirectory() as folder:
        archive = _packed(version, Path(folder))
        FOLDER.mkdir(exist_ok=True)
        with tarfile.open(archive) as package:
            for name in FILES:
                content = package.extractfile(f"package/{name}")
                if content is None:
                    sys.exit(f"{PACKAGE} {version} has no {name}; correct FILES in {__file__}")
                (FOLDER / name).write_bytes(content.read())
        source = {
            "package": PACKAGE,
            "version": version,
            "integrity": _integrity(archive.read_bytes()),
            "files": {name: _sha256(FOLDER / name) for name in FILES},
        }
    SOURCE.write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    print(f"{PACKAGE} {version} is in {FOLDER}")


def _packed(version: str, folder: Path) -> Path:
    """The package as npm has it. npm compares it with the registry's integrity, and so does this."""
    command = ["npm", "pack", f"{PACKAGE}@{version}", "--json", "--silent"]
    try:
        told = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("npm is missing; install Node.js to renew the renderer")
    except subprocess.CalledProcessError as error:
        sys.exit(f"npm cannot bring {PACKAGE} {version}: {error.stderr.strip()}")
    (packed,) = json.loads(told.stdout)
    archive = folder / str(packed["filename"])
    if _integrity(archive.read_bytes()) != packed["integrity"]:
        sys.exit(f"{archive.name} is not what the registry says it is; try again")
    return archive


def _integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
