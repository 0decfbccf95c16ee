"""The files that the demo serves: read once, with their media types and ETags."""

from hashlib import blake2b
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

import msgspec

_MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Page(msgspec.Struct, frozen=True):
    """A file as it is served."""

    body: bytes
    media_type: str
    tag: str


def read_pages(mailbox_url: str, ops_url: str) -> dict[str, Page]:
    """All files by name. In the HTML, `$mailbox_url` and `$ops_url` stand for addresses."""
    addresses = {"mailbox_url": escape(mailbox_url), "ops_url": escape(ops_url)}
    pages = {}
    for file in files(__package__).joinpath("static").iterdir():
        suffix = file.name.rpartition(".")[2]
        if suffix not in _MEDIA_TYPES:
            continue
        body = file.read_bytes()
        if suffix == "html":
            body = Template(body.decode()).substitute(addresses).encode()
        pages[file.name] = Page(body, _MEDIA_TYPES[suffix], blake2b(body, digest_size=8).hexdigest())
    return pages
