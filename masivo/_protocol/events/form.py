"""The form in which an event is kept until it is sent.

An event is kept as bytes: complete (it starts with ``{``), or without its opening brace where
``issued_at`` is still to be stamped in front. Only this file and ``batches/issued_at`` know.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec

from masivo._protocol.json import Json, decode_encoded, decode_readable
from masivo._protocol.wire.dates import STAMP_LENGTH, format_stamp

__all__ = [
    "BRACE",
    "STAMP",
    "STAMP_SIZE",
    "complete",
    "decode",
    "each_size",
    "opening",
    "size",
    "sizes",
]

_OPEN: Final = b'{"issued_at":"'
_NEXT: Final = b'",'
BRACE: Final = 0x7B
"""The first byte of an event that needs no stamp."""

STAMP: Final = slice(len(_OPEN), len(_OPEN) + STAMP_LENGTH)
"""The place of the stamp in an event that begins with ``opening``."""
STAMP_SIZE: Final = len(_OPEN) + STAMP_LENGTH + len(_NEXT)
"""The bytes that a stamp adds to an event that was kept without its brace."""


def size(encoded: bytes) -> int:
    """The bytes of an event as it will be sent."""
    return len(encoded) if encoded[0] == BRACE else len(encoded) + STAMP_SIZE


def each_size(encoded: list[bytes]) -> list[int]:
    """The bytes of each of several events as it will be sent."""
    return [len(each) if each[0] == BRACE else len(each) + STAMP_SIZE for each in encoded]


def sizes(encoded: list[bytes]) -> int:
    """The bytes of several events as they will be sent."""
    unstamped = len(encoded) - [each[0] for each in encoded].count(BRACE)
    return sum(map(len, encoded)) + unstamped * STAMP_SIZE


def opening(stamp: bytes) -> bytes:
    """The beginning of an event that was kept without its opening brace."""
    return _OPEN + stamp + _NEXT


def complete(encoded: bytes, at: float) -> bytes:
    """An event as complete JSON, stamped with a time where it is kept without a stamp."""
    return encoded if encoded[0] == BRACE else opening(format_stamp(at)) + encoded


def decode(encoded: bytes) -> dict[str, Json]:
    """The event again, as the caller gave it (without a stamp). It never raises: a store may hold
    what another process could read."""
    whole = encoded if encoded[0] == BRACE else b"{" + encoded
    try:
        return cast("dict[str, Json]", decode_encoded(whole))
    except (msgspec.MsgspecError, RecursionError):
        return decode_readable(whole)
