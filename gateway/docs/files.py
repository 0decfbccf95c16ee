"""The files of the page /docs: on disk until they are asked for, and sent piece by piece.

The renderer alone has almost 2 MB: no worker keeps it, and a client that reads slowly holds one piece.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

_MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
)
_HERE: Final = Path(__file__).parent
OWN: Final = _HERE / "static"
RENDERER: Final = _HERE / "renderer"
"""Swagger UI as npm has it, with its licence; `source.json` says which. `make renderer` renews it."""
_PIECE: Final = 128 * 1024


class PageFile(msgspec.Struct, frozen=True):
    """A file of the page; `tag` is a hash of its content."""

    path: Path
    media_type: str
    size: int
    tag: str


def page() -> str:
    """The page itself."""
    return (OWN / "docs.html").read_text(encoding="utf-8")


def page_files() -> dict[str, PageFile]:
    """All files that the page loads, by name."""
    found = [path for folder in (OWN, RENDERER) for path in folder.iterdir() if path.suffix in _MEDIA_TYPES]
    return {path.name: _file(path) for path in found}


async def pieces(file: PageFile) -> AsyncIterator[bytes]:
    """The content, a piece at a time; the disk keeps nobody waiting."""
    stream = await asyncio.to_thread(file.path.open, "rb")
    try:
        while piece := await asyncio.to_thread(stream.read, _PIECE):
            yield piece
    finally:
        stream.close()


def _file(path: Path) -> PageFile:
    content = path.read_bytes()
    tag = blake2b(content, digest_size=8).hexdigest()
    return PageFile(path, _MEDIA_TYPES[path.suffix], len(content), tag)
