"""The reader for the common response is equal to h11, which reads all others."""

from __future__ import annotations

import os
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from masivo._http.exchange import Exchange
from masivo._http.failures import BrokenResponseError
from masivo.protocol import Response

EXAMPLES = int(os.environ.get("CHAOS_EXAMPLES", "100"))

SEEDS = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    (
        b"HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: nginx\r\n"
        b"Content-Type: application/json\r\nConnection: keep-alive\r\nContent-Length: 12\r\n\r\n"
        b'{"data": 42}'
    ),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 \r\nx-a:  b  c \r\nX-A: d\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Encoding: identity\r\n\r\n1",
]
PARTS = [
    *[b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\0", b"\x0b", b"\x80", b"\xff", b"0", b"2"],
    *[b"HTTP/1.1 ", b"HTTP/1.0 ", b"100 ", b"200 ", b"204 ", b"304 ", b"x: y\r\n", b"x:\r\n"],
    *[b"connection: close\r\n", b"Connection: Keep-Alive\r\n", b"Connection: upgrade\r\n"],
    *[b"content-length: 2\r\n", b"Content-Length: +2\r\n", b"content-length: 02\r\n"],
    *[b"content-length: 2, 2\r\n", b"content-length: 99999999999999999999\r\n", b" folded\r\n"],
    *[b"transfer-encoding: chunked\r\n", b"content-encoding: gzip\r\n", b"upgrade: h2c\r\n"],
]

edits = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 12), st.sampled_from(PARTS) | st.binary(max_size=3)
    ),
    max_size=4,
)
cuts = st.lists(st.integers(1, 400), max_size=4)


def read(pieces: list[bytes]) -> tuple[object, ...]:
    """All that can be seen of a response that comes in pieces and then ends."""
    exchange = Exchange("POST")
    response = broken = None
    taken = 0
    try:
        for piece in [*pieces, b""]:
            taken += 1
            if response := exchange.receive(piece):
                break
    except BrokenResponseError as error:
        broken = str(error)
    seen = None if response is None else (response.status, dict(response.headers), response.body)
    return seen, exchange.status, exchange.reusable, broken, taken


def by_h11(pieces: list[bytes]) -> tuple[object, ...]:
    """The same, read by h11 alone."""
    with patch.object(Exchange, "_receive_common", return_value=None):
        return read(pieces)


@pytest.mark.scaled
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(SEEDS), edits, cuts)
@example(SEEDS[0], [], [])
@example(SEEDS[1], [], [])
def test_both_readers_agree(
    seed: bytes, changes: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    """However a response is mutated and cut, both see the same: status, headers, body, whether the
    connection can be used again, and the error."""
    data = seed
    for at, length, part in changes:
        data = data[:at] + part + data[at + length :]
    ends = sorted({0, len(data), *[place for place in places if place < len(data)]})
    pieces = [data[start:end] for start, end in pairwise(ends)]
    assert read(pieces) == by_h11(pieces)


@pytest.mark.parametrize("line", [part for part in PARTS if part[-2:] == b"\r\n" and b":" in part])
def test_both_readers_agree_on_each_header(line: bytes) -> None:
    """A header that changes how the response is read, or what becomes of the connection, does so in
    both."""
    start, rest = SEEDS[0][:17], SEEDS[0][17:]
    assert read([start + line + rest]) == by_h11([start + line + rest])


def test_the_common_response_is_read_without_h11() -> None:
    """That it is fast is why it is there."""
    for seed in SEEDS[:2]:
        exchange = Exchange("POST")
        assert isinstance(exchange._receive_common(seed), Response)
        assert exchange.reusable
