"""Strategies for what a server can say: statuses, headers, bodies, and bytes that are no HTTP."""

from __future__ import annotations

import base64
import gzip
import json
import os
import zlib
from typing import Final

from hypothesis import strategies as st

__all__ = ["BODIES", "EXAMPLES", "HEADERS", "KEY", "TOKEN", "raw_responses", "statuses"]

EXAMPLES: Final = int(os.environ.get("CHAOS_EXAMPLES", "11"))
"""How many examples each test tries; ``make test-all`` tries more."""

KEY: Final = "key-8f14e45f-ceea-467f-a0e6"
TOKEN: Final = "tok-c9f0f895fb98ab9159f51fd0"

SEEN: Final = [200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 402, 403, 404, 405]
SEEN_LATER: Final = [408, 409, 410, 413, 418, 422, 425, 429, 500, 501, 502, 503, 504, 511, 599]


def statuses() -> st.SearchStrategy[int]:
    """Statuses: those that mean something more often than the others."""
    return st.sampled_from(SEEN + SEEN_LATER) | st.integers(100, 999)


ESCAPED: Final = "".join(f"\\u{ord(each):04x}" for each in f"{KEY} {TOKEN}")

ECHOES: Final = st.sampled_from(
    [
        json.dumps({"error": f"bad key {KEY}", "details": {"token": TOKEN, TOKEN: [KEY]}}),
        json.dumps({"message": f"Bearer {TOKEN}"}),
        f'{{"error": "{ESCAPED}", "details": ["{ESCAPED}", {{"{ESCAPED}": 1}}]}}',
        f"<html>{KEY} {TOKEN}</html>",
        f'{{"data": "{ESCAPED}"',
        json.dumps([KEY, TOKEN]),
        json.dumps(KEY),
    ]
).map(str.encode)

JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "details", "data"]) | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def jwt(claims: object) -> str:
    """Something that looks like a token and claims what it likes."""
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"{TOKEN}.{text}.{TOKEN}"


CLAIMS: Final = st.dictionaries(
    st.sampled_from(["exp", "iat", "nbf"]),
    JSON | st.integers(0, 10**20) | st.floats(),
    max_size=3,
)
TOKENS: Final = (
    st.just(TOKEN)
    | CLAIMS.map(jwt)
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map(TOKEN.__add__)
    | st.just("injected\r\nx-evil: 1")
    | st.just(f"{TOKEN}.{'A' * 999}.x")
)
GRANTS: Final = TOKENS.map(lambda token: json.dumps({"data": token}).encode())

BODIES: Final = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | ECHOES
    | GRANTS
    | GRANTS
    | st.just(b"[" * 100_000)
    | st.just(b'{"error":' * 900 + b"1" + b"}" * 900)
    | st.just(b'{"error": "\x1b[31m\\u001b[2J\\u202e\\n\\r\\u2028", "details": "\\u0000"}')
)
"""Bodies, decoded."""

DATES: Final = st.sampled_from(
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Sat, 01 Jan 0000 00:00:00 GMT",
        "Thu, 01 Jan 2026 00:00:00 GMT",
        "Thu, 01 Jan 2026 00:04:00 GMT",
        "Xyz, 99 Foo 2026 99:99:99 GMT",
    ]
)
HEADERS: Final = (
    st.sampled_from(["retry-after", "retry-after", "date", "content-type", "location"])
    | st.text(max_size=8),
    DATES
    | st.integers(-5, 400).map(str)
    | st.just("9" * 400)
    | st.just("१२")
    | st.just("1e3")
    | st.text(max_size=12),
)
"""Names and values of headers, as the core gets them."""


# ── On the wire ──────────────────────────────────────────────────────────────────────────────


def line(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Strategies put one after the other."""
    return st.tuples(*parts).map(b"".join)


LINE_END: Final = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
VERSION: Final = st.sampled_from([b"HTTP/1.1 ", b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/2 ", b"ICY "])
STATUS: Final = statuses().map(lambda status: str(status).encode()) | st.sampled_from(
    [b"000", b"99", b"1000", b"-1", b"2 00", b"\xb2\x30\x30", b""]
)
REASON: Final = st.sampled_from([b" OK", b"", b" ", f" {KEY} {TOKEN}".encode(), b" \xff\xfe\x00"])

FIELD: Final = line(
    st.sampled_from(
        [
            b"Content-Length: ",
            b"Content-Length: ",
            b"Transfer-Encoding: ",
            b"Content-Encoding: ",
            b"Content-Type: ",
            b"Connection: ",
            b"Upgrade: ",
            b"Location: ",
            b"Set-Cookie: ",
            b"Retry-After: ",
            b"Date: ",
            b"X : ",
            b": ",
            b" folded ",
        ]
    )
    | st.binary(max_size=10),
    st.sampled_from(
        [
            b"0",
            b"5",
            b"20",
            b"-1",
            b"99999999999999999999",
            b"5, 5",
            b"chunked",
            b"gzip, chunked",
            b"gzip",
            b"deflate",
            b"br",
            b"identity",
            b"close",
            b"keep-alive",
            b"text/html; charset=utf-16",
            b"application/json; charset=nonsense",
            b"http://127.0.0.1:9/",
            b"//evil.example/",
            b"h2c",
            f"{KEY} {TOKEN}".encode(),
        ]
    )
    | st.binary(max_size=12),
    LINE_END,
)
CHUNKED: Final = st.lists(st.binary(max_size=20), max_size=4).map(
    lambda parts: b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in parts) + b"0\r\n\r\n"
)
WIRE_BODIES: Final = (
    BODIES
    | BODIES.map(gzip.compress)
    | BODIES.map(zlib.compress)
    | BODIES.map(lambda body: gzip.compress(body)[:-4])
    | CHUNKED
)


def raw_responses() -> st.SearchStrategy[bytes]:
    """The bytes of an answer: nearly HTTP, wholly HTTP, or nothing of the kind."""
    head = line(VERSION, STATUS, REASON, LINE_END)
    fields = st.lists(FIELD, max_size=5).map(b"".join)
    broken = line(head, fields, LINE_END, WIRE_BODIES)
    whole = st.tuples(statuses(), fields, WIRE_BODIES).map(
        lambda parts: (
            b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s"
            % (parts[0], parts[1], len(parts[2]), parts[2])
        )
    )
    plain = st.tuples(statuses(), WIRE_BODIES).map(
        lambda parts: (
            b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (parts[0], len(parts[1]), parts[1])
        )
    )
    cut = st.tuples(whole, st.integers(0, 120)).map(lambda parts: parts[0][: parts[1]])
    interim = st.tuples(broken, st.integers(1, 30)).map(
        lambda parts: b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" * parts[1] + parts[0]
    )
    return broken | whole | plain | cut | interim | st.binary(max_size=100)
