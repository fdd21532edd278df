"""The bodies of requests, read in bounded memory, each and all together."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from masivo._protocol.wire.bodies import TooLongError, read_body

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.requests import Request

__all__ = ["MAX_BODY", "Bodies", "CrowdedError", "TooLongError"]

MAX_BODY: Final = 8 * 1024 * 1024
"""The most bytes of a body, with its content-encoding and without it."""


class CrowdedError(Exception):
    """There is no memory for another body now."""


class Bodies:
    """The bodies that are in memory.

    Args:
        most: the bytes that they may have together.
    """

    def __init__(self, most: int) -> None:
        self._room = most

    @contextmanager
    def reading(self) -> Generator[Body, None, None]:
        """Read a body; its memory counts for as long as the block lasts."""
        body = Body(self)
        try:
            yield body
        finally:
            self.give(body.taken)

    def take(self, size: int) -> None:
        """Count bytes before they are in memory.

        Raises:
            CrowdedError: there is no room for them.
        """
        if size > self._room:
            raise CrowdedError
        self._room -= size

    def give(self, size: int) -> None:
        """Release bytes that are no longer in memory."""
        self._room += size


class Body:
    """One body."""

    def __init__(self, bodies: Bodies) -> None:
        self.taken: int = 0
        """The bytes that count for it."""
        self._bodies = bodies

    async def read(self, request: Request) -> bytes:
        """Return a request's body without its content-encoding.

        Raises:
            TooLongError: it is too long.
            CrowdedError: there is no memory for it now.
            ValueError: it is not what its content-encoding says.
            ClientDisconnect: the client has disconnected.
        """
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > MAX_BODY:
            raise TooLongError
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BODY:
                raise TooLongError
            self._take(len(chunk))
            chunks.append(chunk)
        whole = chunks[0] if len(chunks) == 2 and not chunks[1] else b"".join(chunks)
        if "content-encoding" not in request.headers:
            return whole
        plain = read_body(request.headers, whole, MAX_BODY)
        self._take(max(0, len(plain) - size))
        return plain

    def _take(self, size: int) -> None:
        self._bodies.take(size)
        self.taken += size
