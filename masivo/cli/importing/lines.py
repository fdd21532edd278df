"""The lines of a file or of standard input, gzip or not, in constant memory."""

from __future__ import annotations

import gzip
import io
import os
import shlex
import stat
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias, cast

from masivo.cli.exits import UsageError

if TYPE_CHECKING:
    _Buffered: TypeAlias = "io.BufferedReader[Any]"

__all__ = ["LONGEST_LINE", "DamagedInputError", "Lines", "open_lines"]

LONGEST_LINE: Final = 4 << 20
"""Bytes of the longest line that is kept: no event is longer. Longer lines are only counted."""

_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_BUFFER: Final = 1 << 16

_MARKS: Final = {
    b"\xff\xfe\0\0": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""The byte order marks of encodings whose lines are not lines of bytes."""

_ZIP: Final = b"PK\x03\x04"
_PARTS_OF_A_SPREADSHEET: Final = (b"[Content_Types].xml", b"xl/", b"opendocument.spreadsheet")
_SPREADSHEET: Final = (
    "a spreadsheet",
    "Save it as CSV UTF-8, or: soffice --headless --convert-to csv FILE",
)
_TAR_AT: Final = 257
_FOREIGN: Final = {
    _ZIP: ("a zip archive", "Unpack it, and import what is in it: unzip FILE"),
    b"\xd0\xcf\x11\xe0": _SPREADSHEET,
    b"BZh": ("packed by bzip2", "Unpack it: bunzip2 --keep FILE"),
    b"\xfd7zXZ\0": ("packed by xz", "Unpack it: unxz --keep FILE"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "Unpack it: unzstd --keep FILE"),
    b"ustar": ("a tar archive", "Unpack it, and import what is in it: tar -xf FILE"),
    b"PAR1": ("a Parquet file", "Convert it to CSV or JSON Lines"),
    b"%PDF": ("a PDF file", "Get the events as CSV or JSON Lines from where it comes from"),
    b"<": ("HTML or XML", "Get the events as CSV or JSON Lines from where it comes from"),
}
"""The beginnings of files that are often taken for text; what they are, and the cure."""


class DamagedInputError(Exception):
    """The input cannot be read any further."""


class _Lines(Protocol):
    def readline(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Lines:
    """An iterator of lines that knows its position, to resume from there.

    A line longer than LONGEST_LINE is cut to one byte more than that.

    Args:
        source: the stream of bytes.
        raw: the file itself, for its position.
        size: the file's size in bytes; None if it is not known.
    """

    def __init__(self, source: _Lines, raw: io.FileIO, size: int | None) -> None:
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

    def is_torn(self, line: bytes) -> bool:
        """Return True if a file ends within this line, so that its rest may still be written."""
        return not (self.is_stream or line.endswith((b"\n", b"\r")))

    def _read(self) -> bytes:
        self.reading = self.is_stream
        try:
            line = self._readline(LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "reason", str(error))
            raise DamagedInputError(f"cannot read on after line {self.number}: {reason}") from None
        finally:  # also where a signal has ended the read
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
        """Close the file; the file descriptor of standard input stays open."""
        self._source.close()
        self._raw.close()


class _Recoded:
    """The lines of text in another encoding, or with other line ends, as bytes."""

    def __init__(self, source: _Buffered, encoding: str, to: str) -> None:
        self._text = io.TextIOWrapper(source, encoding)  # every line ends with a newline then
        self._to = to

    def readline(self, size: int, /) -> bytes:
        return self._text.readline(size).encode(self._to)

    def close(self) -> None:
        self._text.close()


def open_lines(name: str) -> Lines:
    """Return the lines of a file, or of standard input for ``-``. Gzip is detected by its content,
    and so are UTF-16, and carriage returns as line ends.

    Raises:
        UsageError: it cannot be opened, or holds no lines.
    """
    try:
        raw = io.FileIO(0 if name == "-" else name, closefd=name != "-")
        size = raw.seek(0, io.SEEK_END) if name != "-" and _is_file(raw) else None
        if size is not None:
            raw.seek(0)
        source: _Buffered = io.BufferedReader(raw, _BUFFER)
        if source.peek(2)[:2] == _GZIP:
            # Without a larger buffer around it, which would lose readable data of a damaged file.
            source = cast("_Buffered", gzip.GzipFile(fileobj=source))
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}") from None
    try:
        return Lines(_as_lines(source, name), raw, size)
    except UsageError:
        raw.close()
        raise


def _is_file(raw: io.FileIO) -> bool:
    return stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _as_lines(source: _Buffered, name: str) -> _Lines:
    """Return the source, read as what it begins with.

    Raises:
        UsageError: it is neither CSV nor JSON Lines.
    """
    try:
        head = source.peek(_BUFFER)
    except (OSError, EOFError, zlib.error):  # a damaged file: reading it will say so
        return source
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return _Recoded(source, encoding, "utf-8")
    for magic, (kind, cure) in _FOREIGN.items():
        if head.startswith(magic) or head.startswith(magic, _TAR_AT):
            if magic == _ZIP and any(part in head for part in _PARTS_OF_A_SPREADSHEET):
                kind, cure = _SPREADSHEET
            name = shlex.quote("FILE" if name == "-" else name)
            raise UsageError(
                f"{name} is {kind}, and neither CSV nor JSON Lines. {cure.replace('FILE', name)}"
            )
    if b"\0" in head[:4]:
        raise UsageError(
            f"{name} is not text: it begins with null bytes. If it is UTF-16, convert "
            f"it: iconv -f UTF-16LE -t UTF-8 {shlex.quote(name)} > NEW"
        )
    if b"\n" not in head and b"\r" in head[:-1]:
        return _Recoded(source, "latin-1", "latin-1")
    return source
