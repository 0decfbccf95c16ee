"""Heads and chunks without a server: whatever comes is read or refused, and however it is cut."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic.exceptions import ExpectationFailed

from gateway.server.chunks import ChunkDecoder
from gateway.server.heads import Head, parse_head
from gateway.server.refusals import Refused
from tests.gateway.raw_requests import INVALID, VALID

HEADS = [case.sent.removeprefix(b"\r\n").partition(b"\r\n\r\n")[0] for case in (VALID | INVALID).values()]
SHORT_HEADS = [head for head in HEADS if len(head) < 300]


@given(st.binary(max_size=100) | st.sampled_from(SHORT_HEADS), st.binary(max_size=3), st.integers(0, 300))
def test_whatever_comes_is_read_or_refused(head: bytes, piece: bytes, at: int) -> None:
    with contextlib.suppress(Refused, ExpectationFailed):
        found = parse_head(head[:at] + piece + head[at:])
        assert found.target.startswith("/") or (found.method, found.target) == ("OPTIONS", "*")
        assert not re.search(r"[^\x21-\x7e]", found.target)
        assert not (found.is_chunked and found.length is not None)
        assert not any(re.search(r"[\x00-\x08\x0a-\x1f\x7f]", name + value) for name, value in found.headers)


def test_a_head_is_read() -> None:
    head = b"POST http://x/a?b HTTP/1.1\r\nHOST: x\r\nX-A:\t b \r\nContent-Length: 12\r\nConnection: Close"
    assert parse_head(head) == Head(
        method="POST",
        target="/a?b",
        version="1.1",
        headers=[("host", "x"), ("x-a", "b"), ("content-length", "12"), ("connection", "Close")],
        keep_alive=False,
        length=12,
        is_chunked=False,
        expects_continue=False,
    )


def encoded(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-T: a\r\n\r\n"


def decode(sent: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """The data, and what is left of what was sent in pieces of these sizes."""
    decoder, buf, data = ChunkDecoder(), bytearray(), b""
    while not decoder.is_over:
        if (found := decoder.take(buf)) is not None:
            data += found
        elif sent:
            size = cuts.pop() if cuts else len(sent)
            buf += sent[:size]
            sent = sent[size:]
        else:
            pytest.fail("the body has no end")
    assert decoder.received == decoder.decoded == len(data)
    return data, bytes(buf) + sent


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20), st.lists(st.integers(1, 20), max_size=60))
def test_chunks_do_not_depend_on_how_they_are_cut(pieces: list[bytes], cuts: list[int]) -> None:
    assert decode(encoded(pieces) + b"GET", cuts) == (b"".join(pieces), b"GET")


@given(st.binary(max_size=60), st.lists(st.integers(1, 5), max_size=30))
def test_chunks_are_refused_however_they_are_cut(sent: bytes, cuts: list[int]) -> None:
    def outcome(cuts: list[int]) -> tuple[bytes, bytes] | None:
        with contextlib.suppress(Refused, pytest.fail.Exception):
            return decode(sent, cuts)
        return None

    assert outcome([]) == outcome(cuts)


def test_no_more_than_a_bound_of_chunks_is_decoded_in_one_turn() -> None:
    decoder, buf = ChunkDecoder(), bytearray(b"4\r\n    \r\n" * 1000)
    assert 0 < len(decoder.take(buf) or b"") < 4000
