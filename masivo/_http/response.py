"""The parts of a response that are read: its headers, and a body of bounded size."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from masivo.protocol import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BadBodyError", "Body", "bounded", "headers_of"]


class BadBodyError(Exception):
    """A response whose body is too large, or in an encoding that was not requested."""


def headers_of(response: Any) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def bounded(body: bytes) -> bytes:
    if len(body) > MAX_BODY:
        raise BadBodyError(f"its body is larger than {MAX_BODY} bytes")
    return body


class Body:
    """A body of at most MAX_BODY bytes, decoded with bounded memory.

    The library's own decoders inflate a chunk as far as it goes, so a kilobyte could fill the
    memory. Here zlib never returns more than is still allowed.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise BadBodyError("its content-encoding was not requested")
        # 32 + 15: detect a gzip or a zlib header.
        self._inflate = zlib.decompressobj(47) if encoding not in ("", "identity") else None
        self._parts: list[bytes] = []
        self._raw = 0
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Add bytes from the wire."""
        # Raw bytes count as well: those after the end of a compressed body decode to nothing.
        self._raw += len(chunk)
        if self._inflate is not None and self._raw <= MAX_BODY:
            chunk = self._inflate.decompress(chunk, MAX_BODY + 1 - self._size)
        self._size += len(chunk)
        if max(self._raw, self._size) > MAX_BODY:
            raise BadBodyError(f"its body is larger than {MAX_BODY} bytes")
        self._parts.append(chunk)

    def finish(self) -> bytes:
        """Return the whole body."""
        if self._inflate is not None and self._raw and not self._inflate.eof:
            raise BadBodyError("its compressed body is cut off")
        return b"".join(self._parts)
