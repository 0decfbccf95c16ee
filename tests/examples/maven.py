"""Jars that Maven fetches for a test, once."""

import hashlib
import subprocess
from pathlib import Path
from typing import Final
from uuid import uuid4

CACHE: Final = Path(__file__).parents[2] / "build"


def jars_of(name: str, goal: str = "copy-dependencies") -> Path:
    """The folder of what the `pom.xml` of this name's folder names: its jars, or what another goal brings."""
    pom = Path(__file__).parent / name / "pom.xml"
    folder = CACHE / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        fresh = folder.with_suffix(f".{uuid4().hex[:8]}")
        # Its notes on what is unpacked belong to the folder: beside it they would outlive it.
        folders = [f"-DoutputDirectory={fresh}", f"-DmarkersDirectory={fresh / '.unpacked'}"]
        subprocess.run(
            ["mvn", "-q", "-B", "-f", pom, f"dependency:{goal}", "-DincludeScope=runtime", *folders],
            check=True,
        )
        fresh.rename(folder)
    return folder
