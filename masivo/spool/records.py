"""The bytes of a record, and reading past damage.

A record is a mark, a CRC-32 of what follows it, and then kind, length, position, time and body::

    "\\n" 0xFF | crc: 4 | kind: 1 | length: 4 | position: 8 | time: 8 | body

all numbers in little-endian order. The mark does not occur in UTF-8, so it cannot be in an event.
After any damage to a file, a reader continues at the next mark that begins a whole record.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "CERTAIN",
    "FRAME",
    "GROUP_CERTAIN",
    "GROUP_UNCERTAIN",
    "LONGEST",
    "NOTE",
    "REMOVAL",
    "UNCERTAIN",
    "Bad",
    "Record",
    "encode",
    "scan",
    "skim",
]

MARK: Final = b"\n\xff"
CERTAIN: Final = 0x41
"""An event with the server's time."""
UNCERTAIN: Final = 0x42
"""An event with the wall clock's time."""
NOTE: Final = 0x43
"""A batch that is about to be sent."""
REMOVAL: Final = 0x44
"""Events that have their outcome."""
GROUP_CERTAIN: Final = 0x45
"""Events that were stored together, all or none, with the server's time; the record's position is
that of the first."""
GROUP_UNCERTAIN: Final = 0x46
"""The same with the wall clock's time."""

_mark: Final = Struct("<2sI").pack
_pack: Final = Struct("<BIQd").pack
_unpack: Final = Struct("<IBIQd").unpack_from
_CRC: Final = len(MARK)
_CHECKED: Final = _CRC + 4
FRAME: Final = _CHECKED + 21
"""The bytes of a record without its body."""
LONGEST: Final = 67_108_864
"""The most bytes of a body. A record that claims more is damaged."""
_PIECE: Final = 65_536
"""Bytes that are read at once: few enough not to delay other threads."""
_SKIMMED: Final = 24_576
"""Bytes that ``skim`` reads at once: fewer, as it is done all the time, beside the calls."""
_BAD: Final = 1_048_576
"""Bytes after which a bad part is cut in two, so that memory stays bounded."""


class Record(NamedTuple):
    """A whole record."""

    start: int
    end: int
    kind: int
    position: int
    at: float
    body: bytes


class Bad(NamedTuple):
    """Bytes that are no record."""

    start: int
    end: int
    body: bytes
    last: bool
    """True if the file ends with them: it may be a record that is just being written."""


def encode(kind: int, position: int, at: float, body: bytes) -> bytes:
    """The bytes of a record."""
    checked = _pack(kind, len(body), position, at) + body
    return _mark(MARK, crc32(checked)) + checked


def scan(read: Callable[[int, int], bytes], offset: int) -> Iterator[Record | Bad]:
    """Yield all records and bad parts from an offset on.

    Args:
        read: takes an offset and a number, and returns that many bytes of the file; fewer, or none,
            at its end.
        offset: where to begin.
    """
    data, base, at = b"", offset, 0  # ``data`` begins at offset ``base``
    bad = -1  # where the current bad part began
    more = True
    while True:
        missing = FRAME - len(data) + at
        if missing <= 0 and data.startswith(MARK, at):
            crc, kind, length, position, time = _unpack(data, at + _CRC)
            end = at + FRAME + length
            missing = end - len(data)
            if length > LONGEST:
                missing = 0
            elif missing <= 0 and crc32(data[at + _CHECKED : end]) == crc:
                if bad >= 0:
                    yield Bad(base + bad, base + at, data[bad:at], last=False)
                    bad = -1
                yield Record(base + at, base + end, kind, position, time, data[at + FRAME : end])
                at = end
                continue
        if missing > 0 and more:
            kept = at if bad < 0 else bad
            data, base = data[kept:], base + kept
            at, bad = at - kept, min(bad, 0)
            piece = read(base + len(data), max(missing, _PIECE))
            more = bool(piece)
            data += piece
            continue
        if at >= len(data):
            break
        if bad < 0:
            bad = at
        at = data.find(MARK, at + 1)
        if at < 0:
            at = len(data) - (more and data.endswith(MARK[:1]))
        if at - bad > _BAD:
            yield Bad(base + bad, base + at, data[bad:at], last=False)
            bad = at
    if bad >= 0:
        yield Bad(base + bad, base + len(data), data[bad:], last=True)


def skim(
    read: Callable[[int, int], bytes], offset: int, rest: Callable[[], object]
) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and position of each event from an offset on, up to the first record of
    another kind or bad part: as ``scan`` does, in a fraction of the time.

    Args:
        read: as for ``scan``.
        offset: where a record begins.
        rest: called between the pieces of a long file.
    """
    data = read(offset, _SKIMMED)
    while len(data) >= FRAME:
        at, length = 0, len(data)
        while at + FRAME <= length:
            crc, kind, size, position, _ = _unpack(data, at + _CRC)
            end = at + FRAME + size
            if (
                end > length
                or kind not in (CERTAIN, UNCERTAIN)
                or not data.startswith(MARK, at)
                or crc32(data[at + _CHECKED : end]) != crc
            ):
                break
            yield offset + at, offset + end, position
            at = end
        if not at:
            return
        offset += at
        if length == _SKIMMED:
            rest()
        data = read(offset, _SKIMMED)
