"""The lines of a file or of standard input, gzip or not, in constant memory."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Self, cast

from masivo.cli.exits import UsageError

__all__ = ["LONGEST_LINE", "DamagedInputError", "Lines", "open_lines"]

LONGEST_LINE: Final = 4 << 20
"""Bytes of the longest line that is kept: no event is longer. Longer lines are only counted."""

_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_BUFFER: Final = 1 << 16


class DamagedInputError(Exception):
    """The input cannot be read any further."""


class Lines:
    """An iterator of lines that knows its position, to resume from there.

    A line longer than LONGEST_LINE is cut to one byte more than that.

    Args:
        source: the stream of bytes.
        raw: the file itself, for its position.
        size: the file's size in bytes; None if it is not known.
    """

    def __init__(self, source: io.BufferedReader, raw: BinaryIO, size: int | None) -> None:
        self.size = size
        self.number: int = 0
        """The number of the last line, from 1."""
        self.crc: int = 0
        """The CRC-32 of all lines so far. It shows whether a file begins as it did before. Line
        ends do not count: what is appended to a file may end its last line first."""
        self.reading: bool = False
        """True during a read of standard input, which may wait for ever."""
        self._source = source
        self._raw = raw
        self._readline = source.readline
        self.is_stream: bool = size is None
        """True for standard input or another pipe, which can be read only once."""

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> bytes:
        line = self._read()
        if not line:
            raise StopIteration
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := self._read()) and not rest.endswith(b"\n"):
                pass
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(_BOM)
        return line

    def _read(self) -> bytes:
        self.reading = self.is_stream
        try:
            line = self._readline(LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DamagedInputError(f"cannot read on after line {self.number}: {reason}") from None
        self.reading = False
        if line:
            self.crc = zlib.crc32(b"\n", zlib.crc32(line.rstrip(b"\r\n"), self.crc))
        return line

    @property
    def position(self) -> int:
        """The number of bytes read of the file (as stored, before unpacking)."""
        with suppress(OSError, ValueError):
            return self._raw.tell()
        return 0

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._raw.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; standard input stays open."""
        if self._raw is not sys.stdin.buffer:
            self._source.close()
            self._raw.close()


def open_lines(name: str) -> Lines:
    """Return the lines of a file, or of standard input for ``-``. Gzip is detected by its content.

    Raises:
        UsageError: it cannot be opened.
    """
    try:
        raw = cast("BinaryIO", sys.stdin.buffer if name == "-" else Path(name).open("rb", 0))  # noqa: SIM115
        buffered = raw if name == "-" else io.BufferedReader(cast("io.RawIOBase", raw), _BUFFER)
        buffered = cast("io.BufferedReader", buffered)
        size = raw.seek(0, io.SEEK_END) if name != "-" and raw.seekable() else None
        if size is not None:
            raw.seek(0)
        if buffered.peek(2)[:2] == _GZIP:
            # Without a larger buffer around it, which would lose good data of a damaged file.
            buffered = cast("io.BufferedReader", gzip.GzipFile(fileobj=buffered))
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}") from None
    return Lines(buffered, raw, size)
