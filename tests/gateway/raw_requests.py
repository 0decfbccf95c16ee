"""Requests as bytes, those that RFC 9112 does not allow and those that it does, and how they are answered."""

import json
from typing import NamedTuple

from tests.gateway.cart_client import item

PATH = b"/health/live"
ITEMS = b"/v1/carts/user:raw/items"
BODY = json.dumps(item()).encode()
SIZE = b"%x" % len(BODY)
SECOND = b"GET /health/live?second HTTP/1.1\r\nHost: x\r\n\r\n"
"""What must not be taken for a request."""

CONTROLS = [*range(0x20), 0x7F]


class Raw(NamedTuple):
    """A connection's bytes, and the statuses of its answers in their order."""

    sent: bytes
    statuses: tuple[int, ...]


def get(
    *headers: bytes, line: bytes = b"GET /health/live HTTP/1.1", host: bytes | None = b"Host: x"
) -> bytes:
    """A GET whose parts can be replaced."""
    return b"\r\n".join([line, *([] if host is None else [host]), *headers]) + b"\r\n\r\n"


def to(target: bytes, method: bytes = b"GET", host: bytes = b"Host: x") -> bytes:
    """A request for the target."""
    return get(line=b"%b %b HTTP/1.1" % (method, target), host=host)


def post(*headers: bytes, body: bytes = BODY, version: bytes = b"1.1") -> bytes:
    """An add whose framing is given."""
    lines = [b"POST %b HTTP/%b" % (ITEMS, version), b"Host: x", b"Content-Type: application/json", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def length(value: bytes, body: bytes = BODY, *more: bytes) -> bytes:
    """An add with this Content-Length; what looks like a request follows."""
    return post(b"Content-Length: " + value, *more, body=body + SECOND)


def chunked(body: bytes) -> bytes:
    """An add whose body is given with its framing in chunks; what looks like a request follows."""
    return post(b"Transfer-Encoding: chunked", body=body + SECOND)


def chunk(size: bytes = SIZE, data: bytes = BODY, end: bytes = b"\r\n", rest: bytes = b"0\r\n\r\n") -> bytes:
    """A chunk with the last one."""
    return size + b"\r\n" + data + end + rest


def coding(value: bytes, *more: bytes, version: bytes = b"1.1") -> bytes:
    """An add with this Transfer-Encoding."""
    return post(b"Transfer-Encoding: " + value, *more, body=chunk() + SECOND, version=version)


def shown(byte: int) -> str:
    """A byte in the name of a case."""
    return f"x{byte:02x}"


LINES = {
    "no request": b"GARBAGE\r\n\r\n",
    "HTTP/0.9": b"GET /health/live\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "two blanks": get(line=b"GET  /health/live HTTP/1.1"),
    "blank at the end": get(line=b"GET /health/live HTTP/1.1 "),
    "blank before": get(line=b" GET /health/live HTTP/1.1"),
    "tabs": get(line=b"GET\t/health/live\tHTTP/1.1"),
    "no target": get(line=b"GET HTTP/1.1"),
    "only a method": get(line=b"GET"),
    "empty line with headers": get(line=b""),
    **{
        f"version {version!r}": get(line=b"GET /health/live " + version)
        for version in (
            *(b"http/1.1", b"HTTP/1.10", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP /1.1", b"HTTP/11"),
            *(
                b"HTTP/+1.1",
                b"HTTP/1,1",
                b"HTTP/1.1x",
                b"HTTP/01.1",
                b"HTTPS/1.1",
                b"HTTP/1.1\x0b",
                b"1.1",
                b"",
            ),
        )
    },
    **{
        f"method {method!r}": to(PATH, method)
        for method in (b"G(T", b"G\xffT", b"GET:", b"G,T", b"G=T", b'"GET"', b"{GET}", b"G@T", b"", b"G/T")
    },
    **{f"method with {shown(byte)}": to(PATH, b"GE%cT" % byte) for byte in CONTROLS if byte not in b"\r\n"},
}

TARGETS = {
    **{f"path with {shown(byte)}": to(b"/health/live?%c" % byte) for byte in CONTROLS if byte not in b"\n"},
    **{f"path with {shown(byte)}": to(b"/health/live?%c" % byte) for byte in range(0x80, 0x100, 17)},
    **{
        f"target {target!r}": to(target)
        for target in (
            *(b"health/live", b"/health/live#x", b"*", b"x:80", b"http:", b"http://", b"http:///health/live"),
            *(
                b"ftp://x/health/live",
                b"http://u@x/health/live",
                b"http://x y/",
                b"//",
                b"http://[::1/health/live",
            ),
        )
        if target != b"//"
    },
    "CONNECT": to(b"x:80", b"CONNECT"),
    "* with POST": to(b"*", b"POST"),
}

HOSTS = {
    "no host": get(host=None),
    "two hosts": get(b"Host: y"),
    "the same host twice": get(b"Host: x"),
    "two hosts in two cases": get(b"hOST: x"),
    **{
        f"host {host!r}": get(host=b"Host: " + host)
        for host in (
            *(b"a b", b"u@x", b"x/y", b"x:port", b"x, y", b"\xff", b"[::1", b"::1", b"x:123456", b"x:80:80"),
            *(b"x?y", b"x#y", b"x\\y", b"<x>", b'"x"', b"x:-1", b"[x]", b"[]", "xä".encode(), b"x\ty"),
        )
    },
}

FIELDS = {
    "blank before the colon": get(b"X-A : b"),
    "tab before the colon": get(b"X-A\t: b"),
    "no colon": get(b"Xab"),
    "no name": get(b": b"),
    "known name without colon": get(b"accept"),
    "folded line": get(b"X-A: a", b" b"),
    "folded line with tab": get(b"X-A: a", b"\tb"),
    "folded first line": b"GET /health/live HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n",
    "folded empty line": get(b"X-A: a", b" "),
    **{f"name with {shown(byte)}": get(b"X%cA: b" % byte) for byte in (*CONTROLS, *b' "(),/;<=>?@[\\]{}')},
    **{f"name with {shown(byte)}": get(b"X%cA: b" % byte) for byte in range(0x80, 0x100, 17)},
    **{f"value with {shown(byte)}": get(b"X-A: a%cb" % byte) for byte in CONTROLS if byte not in b"\t"},
    "escape sequence": get(b"X-A: \x1b[31m"),
    "bare LF everywhere": get().replace(b"\r\n", b"\n"),
    "bare LF after the first line": b"GET /health/live HTTP/1.1\nHost: x\r\n\r\n",
    "bare LF at the end": b"GET /health/live HTTP/1.1\r\nHost: x\r\n\n",
    "bare CR everywhere": get().replace(b"\r\n", b"\r") + b"\r\n\r\n",
    "bare CR after the first line": b"GET /health/live HTTP/1.1\rHost: x\r\n\r\n",
    "CR CR LF": b"GET /health/live HTTP/1.1\r\r\nHost: x\r\n\r\n",
    "LF CR": b"GET /health/live HTTP/1.1\n\rHost: x\r\n\r\n",
    "a length behind a bare LF": post(b"X-A: a\nContent-Length: 0", b"Content-Length: %d" % len(BODY)),
    "a length behind a bare CR": post(b"X-A: a\rContent-Length: 0", b"Content-Length: %d" % len(BODY)),
}

LENGTHS = {
    **{
        f"length {value!r}": length(value)
        for value in (
            *(b"+%d" % len(BODY), b"-1", b"-0", b"0x%x" % len(BODY), b"3_6", b"36.0", b"", b"3 6", b"\x0b36"),
            *(
                "٣٦".encode(),
                "\u00a036".encode(),
                b'"36"',
                b"36,",
                b"36;",
                b"36, 36",
                b"1e2",
                b"\x0036",
                b"\xb2",
            ),
            *("\uff13\uff16".encode(), b"0b11", b"36\x0b", b"36\x00", b",36", b"Infinity", b"NaN", b"0 0"),
        )
    },
    "length twice": length(b"%d" % len(BODY), BODY, b"Content-Length: 0"),
    "same length twice": length(b"%d" % len(BODY), BODY, b"Content-Length: %d" % len(BODY)),
    "length in two cases": length(b"0", b"", b"CONTENT-LENGTH: %d" % len(SECOND)),
    "blank before the colon of the length": post(b"Content-Length : %d" % len(BODY)),
    "folded length": post(b"Content-Length:", b" %d" % len(BODY)),
}

CODINGS = {
    **{
        f"coding {value!r}": coding(value)
        for value in (
            *(
                b"chunked, chunked",
                b"xchunked",
                b"chunked x",
                b"identity",
                b"chunked, identity",
                b"gzip, chunked",
            ),
            *(
                b"\x0bchunked",
                b"",
                b'"chunked"',
                b"chunked\0",
                b"chunked;q=1",
                b"chunked,",
                b",chunked",
                b"gzip",
            ),
            *(b"chun\tked", b"c hunked", b"chunked\x0c", b"chunke", b"chunkedd", b"\xa0chunked", b"trailers"),
        )
    },
    "coding twice": coding(b"chunked", b"Transfer-Encoding: chunked"),
    "another coding in the next line": coding(b"chunked", b"Transfer-Encoding: identity"),
    "length and coding": length(b"6", b"0\r\n\r\n", b"Transfer-Encoding: chunked"),
    "coding and length": post(
        b"Transfer-Encoding: chunked", b"Content-Length: 6", body=b"0\r\n\r\n" + SECOND
    ),
    "a length over a second request": post(
        b"Content-Length: %d" % (5 + len(SECOND)), b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SECOND
    ),
    "coding in HTTP/1.0": coding(b"chunked", version=b"1.0"),
    "blank before the colon of the coding": post(b"Transfer-Encoding : chunked", body=chunk() + SECOND),
    "folded coding": post(b"Transfer-Encoding:", b"\tchunked", body=chunk() + SECOND),
    "coding with an underscore before an unknown one": post(
        b"Transfer_Encoding: chunked", b"Transfer-Encoding: x", body=b"0\r\n\r\n" + SECOND
    ),
}

CHUNKS = {
    **{
        f"chunk size {size!r}": chunked(chunk(size))
        for size in (
            *(
                b"0x" + SIZE,
                b"+" + SIZE,
                b"-1",
                b"2_4",
                b" " + SIZE,
                SIZE + b" ",
                b"",
                b";x",
                b"zz",
                b"1" + b"0" * 16,
            ),
            *(
                "٢٤".encode(),
                b"f" * 20,
                SIZE + b"\x0b",
                b"\x0b" + SIZE,
                SIZE + b"h",
                SIZE + b".0",
                SIZE + b"," + SIZE,
            ),
            *(
                SIZE + b";a\nb",
                SIZE + b";a\rb",
                SIZE + b";\0",
                SIZE + b" x",
                SIZE + b";" + b"a" * 300,
                b"0" * 100 + SIZE,
            ),
        )
    },
    "bare LF in chunks": chunked(SIZE + b"\n" + BODY + b"\n0\n\n"),
    "CR after a size": chunked(SIZE + b"\r" + BODY + b"\r\n0\r\n\r\n"),
    "chunk longer than its size": chunked(chunk(data=BODY + b"XX")),
    "no CRLF after a chunk": chunked(chunk(end=b"")),
    "no CRLF after a chunk but two bytes": chunked(chunk(end=b"XX")),
    "LF after a chunk": chunked(chunk(end=b"\n")),
    "CR LF the wrong way round": chunked(chunk(end=b"\n\r")),
    "CR and a byte after a chunk": chunked(chunk(end=b"\rX")),
    "LF after the last chunk": chunked(chunk(rest=b"0\n\n")),
    "last chunk without its end": chunked(chunk(rest=b"0\r\n")),
    "trailer without a colon": chunked(chunk(rest=b"0\r\nabc\r\n\r\n")),
    "folded trailer": chunked(chunk(rest=b"0\r\nX-T: a\r\n b\r\n\r\n")),
    "trailer with a bare LF": chunked(chunk(rest=b"0\r\nX-T: a\nb\r\n\r\n")),
    "trailer with NUL": chunked(chunk(rest=b"0\r\nX-T: a\0b\r\n\r\n")),
    "trailer with a blank before its colon": chunked(chunk(rest=b"0\r\nX-T : a\r\n\r\n")),
    "more chunks than data": chunked(b"1\r\n \r\n" * 2000 + chunk()),
}

NO_TOKEN = (*CONTROLS, *b' "(),/;<=>?@[\\]{}', *range(0x80, 0x100, 17))
"""Bytes that no name has, colons apart."""

TRAILERS = {
    f"name with {shown(byte)}": chunked(chunk(rest=b"0\r\nX%cT: a\r\n\r\n" % byte)) for byte in NO_TOKEN
} | {
    f"value with {shown(byte)}": chunked(chunk(rest=b"0\r\nX-T: a%cb\r\n\r\n" % byte))
    for byte in CONTROLS
    if byte not in b"\t"
}

EXTENSIONS = {
    f"extension with {shown(byte)}": chunked(chunk(SIZE + b";a=%cb" % byte))
    for byte in CONTROLS
    if byte not in b"\t"
}

FRAMINGS = (
    *(b"Content-Length: %d" % len(BODY), b"Content-Length: 0", b"content-length: %d" % len(SECOND)),
    *(b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: identity"),
    *(b"Transfer-Encoding: gzip, chunked", b"Content-Length:", b"TRANSFER-ENCODING:"),
)
"""What says how long a body is. No two of them may stand in one request, whatever they are."""

TWO_FRAMINGS = {
    f"{first.decode()} and {second.decode()}": post(first, second, body=chunk() + SECOND)
    for first in FRAMINGS
    for second in FRAMINGS
}

REFUSED_OTHERWISE = {
    "long first line": Raw(to(b"/" + b"a" * 9000), (414,)),
    "longer first line": Raw(to(b"/" + b"a" * 1_000_000), (414,)),
    "long header": Raw(get(b"X: " + b"a" * 9000), (431,)),
    "longer header": Raw(get(b"X: " + b"a" * 1_000_000), (431,)),
    "long name of a header": Raw(get(b"X" * 9000 + b": a"), (431,)),
    "101 headers": Raw(get(*[b"A%d: b" % n for n in range(100)]), (431,)),
    "5000 headers": Raw(get(*[b"A%d: b" % n for n in range(5000)]), (431,)),
    "long trailers": Raw(chunked(chunk(rest=b"0\r\nX: " + b"a" * 9000 + b"\r\n\r\n")), (431,)),
    "large body": Raw(length(b"300000", b" " * 300_000), (413,)),
    "larger body": Raw(length(b"5000000", b" " * 5_000_000), (413,)),
    "length of 2^64": Raw(length(b"%d" % 2**64), (413,)),
    "length of 40 digits": Raw(length(b"9" * 40), (413,)),
    "large chunk": Raw(chunked(chunk(b"%x" % 300_000, b" " * 300_000)), (413,)),
    "huge chunk": Raw(chunked(chunk(b"f" * 16)), (413,)),
    "large chunks together": Raw(chunked(chunk(b"ffff", b" " * 0xFFFF, rest=b"") * 5 + b"0\r\n\r\n"), (413,)),
    "unknown expectation": Raw(length(b"%d" % len(BODY), BODY, b"Expect: foo"), (417,)),
    "two expectations": Raw(length(b"%d" % len(BODY), BODY, b"Expect: 100-continue, foo"), (417,)),
}

INVALID = {
    f"{group}: {name}": Raw(sent, (400,))
    for group, cases in {
        "line": LINES,
        "target": TARGETS,
        "host": HOSTS,
        "field": FIELDS,
        "length": LENGTHS,
        "coding": CODINGS,
        "chunk": CHUNKS,
        "trailer": TRAILERS,
        "extension": EXTENSIONS,
        "two": TWO_FRAMINGS,
    }.items()
    for name, sent in cases.items()
} | REFUSED_OTHERWISE

LAST = b"Connection: close"
ADD = (b"Content-Length: %d" % len(BODY), LAST)
IN_CHUNKS = (b"Transfer-Encoding: chunked", LAST)

VALID = {
    "get": Raw(get(LAST), (200,)),
    "head": Raw(get(LAST, line=b"HEAD /v1/products HTTP/1.1"), (404,)),
    "empty line before": Raw(b"\r\n" + get(LAST), (200,)),
    "HTTP/1.0": Raw(get(line=b"GET /health/live HTTP/1.0", host=None), (200,)),
    "HTTP/1.0 with host": Raw(get(line=b"GET /health/live HTTP/1.0"), (200,)),
    "HTTP/1.0 that stays": Raw(
        get(b"Connection: keep-alive", line=b"GET /health/live HTTP/1.0") + get(LAST), (200, 200)
    ),
    "whole URL": Raw(get(LAST, line=b"GET http://x/health/live HTTP/1.1"), (200,)),
    "whole URL, port, query": Raw(get(LAST, line=b"GET HTTP://x:80/health/live?a=b HTTP/1.1"), (200,)),
    "whole URL without path": Raw(get(LAST, line=b"GET http://x?a HTTP/1.1"), (200,)),
    "OPTIONS *": Raw(get(LAST, line=b"OPTIONS * HTTP/1.1"), (204,)),
    "two slashes": Raw(get(LAST, line=b"GET // HTTP/1.1"), (200,)),
    "query of other characters": Raw(get(LAST, line=b'GET /health/live?a=<>{}|\\^`" HTTP/1.1'), (200,)),
    "unknown method": Raw(get(LAST, line=b"BREW /health/live HTTP/1.1"), (405,)),
    **{
        f"host {host!r}": Raw(get(LAST, host=b"Host:" + host), (200,))
        for host in (
            b" [::1]:80",
            b" [::1]",
            b" x:",
            b" 10.0.0.1",
            b" x_y",
        )
    },
    "empty host": Raw(get(LAST, host=b"Host:"), (421,)),
    "host that is encoded": Raw(get(LAST, host=b"Host: %41"), (421,)),
    "host of another server": Raw(get(LAST, host=b"Host: x.example.com:8000"), (421,)),
    "bytes in a value": Raw(get(LAST, b"X: \xe4\xff"), (200,)),
    "no value": Raw(get(LAST, b"X:"), (200,)),
    "blanks around a value": Raw(get(LAST, b"X: \t a \t "), (200,)),
    "tab in a value": Raw(get(LAST, b"X: a\tb"), (200,)),
    "odd name": Raw(get(LAST, b"!#$%&'*+-.^_`|~09aZ: a"), (200,)),
    "100 headers": Raw(get(LAST, *[b"A%d: b" % n for n in range(98)]), (200,)),
    "7 KiB of a header": Raw(get(LAST, b"X: " + b"a" * 7000), (200,)),
    "7 KiB of a first line": Raw(get(LAST, line=b"GET /health/live?" + b"a" * 7000 + b" HTTP/1.1"), (200,)),
    "body": Raw(post(*ADD), (200,)),
    "body of a GET": Raw(get(LAST, b"Content-Length: 2") + b"{}", (200,)),
    "empty body": Raw(get(LAST, b"Content-Length: 0"), (200,)),
    "blanks around a length": Raw(post(b"Content-Length: \t %d \t" % len(BODY), LAST), (200,)),
    "length with zeros": Raw(post(b"Content-Length: 000%d" % len(BODY), LAST), (200,)),
    "length with many zeros": Raw(post(b"Content-Length: " + b"0" * 50 + b"%d" % len(BODY), LAST), (200,)),
    "chunks": Raw(post(*IN_CHUNKS, body=chunk()), (200,)),
    "Chunked": Raw(post(b"Transfer-Encoding: Chunked", LAST, body=chunk()), (200,)),
    "blank after chunked": Raw(post(b"Transfer-Encoding: chunked ", LAST, body=chunk()), (200,)),
    "size in capitals": Raw(post(*IN_CHUNKS, body=chunk(SIZE.upper())), (200,)),
    "size with zeros": Raw(post(*IN_CHUNKS, body=chunk(b"0000" + SIZE)), (200,)),
    "several zeros at the end": Raw(post(*IN_CHUNKS, body=chunk(rest=b"000\r\n\r\n")), (200,)),
    "chunk extension": Raw(post(*IN_CHUNKS, body=chunk(SIZE + b";a=b")), (200,)),
    "chunk extension after blanks": Raw(post(*IN_CHUNKS, body=chunk(SIZE + b' \t;a="b c"')), (200,)),
    "extension of the last chunk": Raw(post(*IN_CHUNKS, body=chunk(rest=b"0;a\r\n\r\n")), (200,)),
    "trailer": Raw(post(*IN_CHUNKS, body=chunk(rest=b"0\r\nX-T: a\r\n\r\n")), (200,)),
    "trailers": Raw(post(*IN_CHUNKS, body=chunk(rest=b"0\r\nX-T: a\r\nX-U:\r\n\r\n")), (200,)),
    "trailer that says a length": Raw(
        post(IN_CHUNKS[0], body=chunk(rest=b"0\r\nContent-Length: 9\r\n\r\n")) + get(LAST), (200, 200)
    ),
    "a chunk of one byte": Raw(
        post(*IN_CHUNKS, body=chunk(b"1", BODY[:1], rest=b"") + chunk(b"%x" % (len(BODY) - 1), BODY[1:])),
        (200,),
    ),
    "100 chunks of one byte": Raw(post(*IN_CHUNKS, body=b"1\r\n \r\n" * 100 + chunk()), (200,)),
    "three requests at once": Raw(get() * 2 + get(LAST), (200, 200, 200)),
    "a body and a request at once": Raw(post(ADD[0]) + get(LAST), (200, 200)),
    "chunks and a request at once": Raw(post(IN_CHUNKS[0], body=chunk()) + get(LAST), (200, 200)),
    "body to nowhere and a request at once": Raw(
        post(ADD[0]).replace(ITEMS, b"/v1/nothing") + get(LAST), (404, 200)
    ),
    "expected body at once": Raw(post(*ADD, b"Expect: 100-Continue"), (200,)),
    "expectation of HTTP/1.0": Raw(post(ADD[0], b"Expect: 100-continue", version=b"1.0"), (200,)),
    "connection options": Raw(get(b"Connection: X-A, Close"), (200,)),
    "connection that stays": Raw(get(b"Connection: keep-alive, x") + get(LAST), (200, 200)),
    "wish for a websocket": Raw(get(b"Upgrade: websocket", b"Connection: Upgrade") + get(LAST), (200, 200)),
    "media type of bytes": Raw(post(*ADD).replace(b"application/json", b"\xff\xfe"), (415,)),
    "coded body": Raw(post(*ADD, b"Content-Encoding: br"), (415,)),
    "preference of bytes": Raw(post(*ADD, b'Prefer: durability="\xff"'), (400,)),
}
