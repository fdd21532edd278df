"""Both requests, as the API expects them: an authorization, and a batch of events.

A request is a value of plain parts here; its number, its timeout and its owner are added where it
is sent (``sending/context.py``).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from masivo._protocol import __version__
from masivo._protocol.json import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .api import Api

__all__ = ["Call", "Headers", "authorization", "batch", "envelope_size", "read_body"]

Headers = tuple[tuple[str, str], ...]
"""Names and values."""

_GZIP: Final = 31
"""The ``wbits`` of zlib for gzip (RFC 1952)."""

_COMMON: Final[Headers] = (
    ("accept", "application/json"),
    ("user-agent", f"masivo-python/{__version__}"),
)


class Call(msgspec.Struct, frozen=True):
    """One HTTP request, without the base URL."""

    method: str
    path: str
    headers: Headers
    body: bytes = b""


def authorization(api: Api, key: str) -> Call:
    """The request for a token."""
    headers: Headers = (("x-api-key", key),)
    if api.sdk_header is not None:
        headers += (("x-masivo-sdk", api.sdk_header),)
    return Call("GET", api.authorize_path, headers + _COMMON)


def batch(api: Api, token: str, idempotency_key: str, events: Sequence[bytes]) -> Call:
    """The request that sends encoded events. Equal arguments give equal bytes, so that every
    retry of a batch is the same request."""
    headers: Headers = (
        ("authorization", f"Bearer {token}"),
        ("content-type", "application/json"),
        ("idempotency-key", idempotency_key),
    )
    before, after = _envelope(api.events_key)
    body = b"".join((before, b",".join(events), after))
    if api.content_encoding == "gzip":
        body = zlib.compress(body, wbits=_GZIP)
        headers += (("content-encoding", "gzip"),)
    return Call("POST", api.events_path, headers + _COMMON, body)


def envelope_size(api: Api) -> int:
    """The bytes that a batch's body has around its events."""
    before, after = _envelope(api.events_key)
    return len(before) + len(after)


def _envelope(events_key: str | None) -> tuple[bytes, bytes]:
    """The bytes before and after the events in a batch's body."""
    if events_key is None:
        return b"[", b"]"
    return b"{" + encode(events_key) + b":[", b"]}"


def read_body(headers: Mapping[str, str], body: bytes, limit: int) -> bytes:
    """Return the body of a batch's request without its encoding, as a server reads it.

    Args:
        headers: of the request, under lower-case names.
        body: as it came.
        limit: the most bytes that it may have without its encoding.

    Raises:
        ValueError: the body is not what its ``content-encoding`` says, or longer than ``limit``.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise ValueError(f"content-encoding {encoding!r} is not known")
    reader = zlib.decompressobj(_GZIP)
    try:
        plain = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise ValueError(f"it is not gzip: {error}") from None
    if len(plain) > limit:
        raise ValueError(f"it is longer than {limit} bytes without its encoding")
    if not reader.eof or reader.unused_data:
        raise ValueError("it is cut short, or something follows it")
    return plain
