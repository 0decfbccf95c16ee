"""Decodes a body in chunks (RFC 9112, 7.1), some of it at a time, however many chunks come."""

import re
from typing import Final

from gateway.server.heads import check_fields
from gateway.server.refusals import HEAD_BYTES, head_too_large, malformed

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[\t ]*+;[\t\x20-\x7e\x80-\xff]{0,256}+)?\r\n")
_BEGUN_SIZE: Final = re.compile(
    rb"[0-9A-Fa-f]{0,16}(?:(?<=[0-9A-Fa-f])[\t ]*+(?:;[\t\x20-\x7e\x80-\xff]{0,256}+)?)?\r?"
)
_LONGEST_SIZE: Final = 16 + 300
_AT_ONCE: Final = 512
"""Chunks that are decoded in one go: less than a millisecond."""
_FREE: Final = 512
"""Chunks that may be as small as they like."""
_CRLF: Final = b"\r\n"


class ChunkDecoder:
    """One body. Trailers are checked and dropped."""

    __slots__ = ("_chunks", "_in_trailers", "_left", "_overhead", "decoded", "is_over")

    def __init__(self) -> None:
        self.decoded = 0
        """Bytes of the body, all of a chunk from its beginning on."""
        self.is_over = False
        self._chunks = 0
        self._overhead = 0
        self._left: int | None = None
        """Bytes of the chunk; 0: its CRLF is missing; None: the next one has not begun."""
        self._in_trailers = False

    @property
    def received(self) -> int:
        """Bytes of the body that have come."""
        return self.decoded - (self._left or 0)

    def take(self, buf: bytearray) -> bytes | None:
        """Remove from `buf` what can be decoded and return the data; None if more has to come first.

        b"" at the end, with `is_over`. Raises Refused.
        """
        at, pieces = 0, []
        until = self._chunks + _AT_ONCE
        while not self._in_trailers and self._chunks < until:
            if self._left is None:
                found = _SIZE.match(buf, at)
                if found is None:
                    self._check_begun(bytes(buf[at : at + _LONGEST_SIZE]))
                    break
                at = found.end()
                self._begin(int(found[1], 16), len(found[0]))
            elif self._left:
                piece = bytes(buf[at : at + self._left])
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
            elif len(buf) < at + 2:
                self._check_end(bytes(buf[at:]))
                break
            else:
                self._check_end(bytes(buf[at : at + 2]))
                at, self._left = at + 2, None
        del buf[:at]
        if self._in_trailers and not pieces:
            self.is_over = self._take_trailers(buf)
        return b"".join(pieces) if pieces or self.is_over else None

    def _begin(self, size: int, header: int) -> None:
        self._in_trailers = size == 0
        self._left = size
        self.decoded += size
        self._chunks += 1
        self._overhead += header + len(_CRLF)
        if self._chunks > _FREE and self._overhead > self.decoded:
            raise malformed("its chunks are so small that their sizes outweigh them")

    def _check_begun(self, rest: bytes) -> None:
        if len(rest) == _LONGEST_SIZE or not _BEGUN_SIZE.fullmatch(rest):
            raise malformed("a chunk has no valid size")

    def _check_end(self, end: bytes) -> None:
        if not _CRLF.startswith(end):
            raise malformed("a chunk is longer than its size")

    def _take_trailers(self, buf: bytearray) -> bool:
        if buf[:2] == _CRLF:
            del buf[:2]
            return True
        end = buf.find(b"\r\n\r\n")
        if len(buf) > HEAD_BYTES and not 0 <= end < HEAD_BYTES:
            raise head_too_large(in_first_line=False)
        if end < 0:
            return False
        check_fields(bytes(buf[:end]))
        del buf[: end + 4]
        return True
