"""The file of rejected events: JSON Lines that can be corrected and imported as they are.

A record holds ``rejected`` (the reason and the line) and what is known of the event: ``event``;
or ``text``, a line that is not JSON; or ``row``, a row of a CSV file that makes no event.
``records`` reads them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from masivo._protocol.json import NOT_JSON, encode, parse
from masivo.cli.exits import UsageError

from .records import EVENT, REJECTED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .records import Record

__all__ = ["Rejects"]

_BEGINNING: Final = b'{"rejected":{"line":'


class Rejects:
    """The writer of the file, which is created when the first event is rejected."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._unwritten: list[bytes] = []

    def check(self, *, new: bool) -> None:
        """Check that the file can be created, and that it does not exist, if it has to be ``new``.

        Raises:
            UsageError: it exists, or cannot be created.
        """
        if not os.access(self.path.parent, os.W_OK):
            raise UsageError(f"cannot write to {self.path.parent}: name another with --rejected")
        if new and self.path.exists():
            raise UsageError(
                f"{self.path} exists already, from an earlier import: move it away, or name "
                "another file with --rejected"
            )

    def remove(self, size: int, state: Path) -> None:
        """Remove the file as an import left it; one that was edited since stays.

        Args:
            size: its size then.
            state: the import's file of its state, which was written after it.
        """
        with suppress(OSError):
            left = self.path.stat()
            if left.st_size == size > 0 and left.st_mtime_ns <= state.stat().st_mtime_ns:
                self.path.unlink()

    def resume(self, size: int, done: Callable[[int], bool]) -> None:
        """Remove records that a killed import wrote after ``size`` bytes but did not account for.

        Other lines there were written by other programs, and stay as they are.
        """
        try:
            with self.path.open("r+b") as file:
                file.seek(size)
                tail = file.read().splitlines(keepends=True)
                rest = [text for text in tail if not _is_unaccounted(text, done)]
                if rest != tail:
                    file.seek(size)
                    file.writelines(rest)
                    file.truncate()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror or error}") from None

    def add(self, record: Record, reason: str, status: int | None) -> None:
        """Add a rejected event; ``write`` writes it."""
        why: dict[str, object] = {"line": record.line, "reason": reason, "status": status}
        if record.end != record.line:
            why["end"] = record.end
        rest = record.rest if record.problem is not None else {EVENT: record.event}
        self._unwritten.append(encode({REJECTED: why, **rest}) + b"\n")

    def write(self) -> int:
        """Write the added events; return the file's size in bytes.

        Raises:
            UsageError: it cannot be written.
        """
        if not self._unwritten and self._file is None:
            return 0
        try:
            if self._file is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
                self._file = os.open(self.path, flags, 0o600)
                size = os.fstat(self._file).st_size
                if size and os.pread(self._file, 1, size - 1) != b"\n":
                    self._unwritten.insert(0, b"\n")  # another program wrote a line without one
            data = memoryview(b"".join(self._unwritten))
            while data:
                data = data[os.write(self._file, data) :]
            self._unwritten = []
            return os.fstat(self._file).st_size
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Sync the file to the disk, and close it."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None


def _is_unaccounted(text: bytes, done: Callable[[int], bool]) -> bool:
    """Return whether a line of the file is a record of ours, or the beginning of one, for an event
    that is not accounted for."""
    record: Any = parse(text)
    if record is NOT_JSON:  # on a full disk, or when killed, a record may be incomplete
        torn = text.startswith(_BEGINNING) or _BEGINNING.startswith(text)
        return torn and not text.endswith(b"\n")
    try:
        end = record[REJECTED].get("end", record[REJECTED]["line"])
    except (AttributeError, TypeError, KeyError):
        return False
    return isinstance(end, int) and not done(end)
