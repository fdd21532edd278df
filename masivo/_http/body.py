"""The body of a response: decoded, and of bounded size."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from masivo.protocol import MAX_BODY

from .failures import BrokenResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Body"]


class Body:
    """Collects a body of at most MAX_BODY bytes, decoded with bounded memory.

    A kilobyte of compressed zeros could fill the memory, so zlib is asked for no more than is
    still allowed.

    Args:
        headers: the response's, under lower-case names.

    Raises:
        BrokenResponseError: the body is in an encoding that was not asked for.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise BrokenResponseError("its content-encoding is not one that was asked for")
        # 32 + 15: a gzip or a zlib header, whichever is there.
        self._inflate = zlib.decompressobj(47) if encoding not in ("", "identity") else None
        self._parts: list[bytes] = []
        self._raw = 0
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Process bytes as they were sent.

        Raises:
            BrokenResponseError: the body is too large, or cannot be decoded.
        """
        # Raw bytes count, too: bytes after the end of a compressed body decode to nothing.
        self._raw += len(chunk)
        if self._inflate is not None and self._raw <= MAX_BODY:
            try:
                chunk = self._inflate.decompress(chunk, MAX_BODY + 1 - self._size)
            except zlib.error as error:
                raise BrokenResponseError(str(error)) from error
        self._size += len(chunk)
        if max(self._raw, self._size) > MAX_BODY:
            raise BrokenResponseError(f"its body is larger than {MAX_BODY} bytes")
        self._parts.append(chunk)

    def finish(self) -> bytes:
        """Return the whole body.

        Raises:
            BrokenResponseError: its compression has no end.
        """
        if self._inflate is not None and self._raw and not self._inflate.eof:
            raise BrokenResponseError("its compressed body is cut off")
        return b"".join(self._parts)
