"""Compressed bodies: of requests and responses, written and read."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TooLongError", "compressed", "read_body"]

_GZIP: Final = 31
"""The ``wbits`` of zlib for gzip (RFC 1952)."""


class TooLongError(ValueError):
    """A body is longer than it may be."""


def compressed(body: bytes) -> bytes:
    """Return a body in gzip. Equal bodies give equal bytes: no time is written into them."""
    return zlib.compress(body, wbits=_GZIP)


def read_body(headers: Mapping[str, str], body: bytes, limit: int) -> bytes:
    """Return the body of a request or a response without its encoding.

    Args:
        headers: of the message, under lower-case names.
        body: as it came.
        limit: the most bytes that it may have without its encoding.

    Raises:
        ValueError: the body is not what its ``content-encoding`` says, or (then a TooLongError) it
            is longer than ``limit``.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        if len(body) > limit:
            raise TooLongError(f"it is longer than {limit} bytes")
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise ValueError(f"content-encoding {encoding!r} is not known")
    reader = zlib.decompressobj(_GZIP)
    try:
        plain = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise ValueError(f"it is not gzip: {error}") from None
    if len(plain) > limit:
        raise TooLongError(f"it is longer than {limit} bytes without its encoding")
    if not reader.eof or reader.unused_data:
        raise ValueError("it is cut short, or something follows it")
    return plain
