"""Jars that Maven fetches for a test, once."""

import hashlib
import subprocess
from pathlib import Path
from typing import Final
from uuid import uuid4

CACHE: Final = Path(__file__).parents[2] / "build"


def jars_of(name: str) -> Path:
    """The folder of the jars that the `pom.xml` of this name's folder names."""
    pom = Path(__file__).parent / name / "pom.xml"
    folder = CACHE / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        fresh = folder.with_suffix(f".{uuid4().hex[:8]}")
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
        subprocess.run(["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", *options], check=True)
        fresh.rename(folder)
    return folder
