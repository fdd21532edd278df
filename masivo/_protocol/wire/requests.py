"""Both requests, as the API expects them: an authorization, and a batch of events.

A request is a value of plain parts here; its number, its timeout and its owner are added where it
is sent (``sending/context.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from masivo._protocol import __version__
from masivo._protocol.json import encode

from .bodies import compressed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .api import Api

__all__ = ["Call", "Headers", "authorization", "batch", "envelope_size"]

Headers = tuple[tuple[str, str], ...]
"""Names and values."""

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
        body = compressed(body)
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
