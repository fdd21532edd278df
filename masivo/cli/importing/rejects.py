"""The file of rejected events: JSON Lines that can be corrected and imported as they are.

A record holds ``rejected`` (the reason and the line) and what is known of the event: ``event``;
or ``text``, a line that is not JSON; or ``row``, a row of a CSV file that makes no event.
``records`` reads them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import msgspec

from masivo.cli.exits import UsageError

from .records import EVENT, REJECTED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .records import Record

__all__ = ["Rejects"]

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Rejects:
    """The writer of the file, which is created when the first event is rejected."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._unwritten: list[bytes] = []

    def check_new(self) -> None:
        """Check that the file does not exist, and that it can be created.

        Raises:
            UsageError: it exists, or cannot be created.
        """
        if not os.access(self.path.parent, os.W_OK):
            raise UsageError(f"cannot write to {self.path.parent}: name another with --rejected")
        if self.path.exists():
            raise UsageError(
                f"{self.path} exists already, from an earlier import: move it away, or name "
                "another file with --rejected"
            )

    def resume(self, size: int, done: Callable[[int], bool]) -> None:
        """Remove records that a killed import wrote but did not account for.

        If anything else follows after ``size`` bytes, the file was edited, and is left unchanged.
        """
        try:
            with self.path.open("r+b") as file:
                file.seek(size)
                tail = file.read()
                whole = tail[: tail.rfind(b"\n") + 1]  # on a full disk the last may be incomplete
                lines = [_line_of(text) for text in whole.splitlines()]
                if tail and all(line is not None and not done(line) for line in lines):
                    file.truncate(size)
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
        self._unwritten.append(_encode({REJECTED: why, **rest}) + b"\n")

    def write(self) -> int:
        """Write the added events; return the file's size in bytes.

        Raises:
            UsageError: it cannot be written.
        """
        if not self._unwritten and self._file is None:
            return 0
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._file = os.open(self.path, flags, 0o600)
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


def _line_of(text: bytes) -> int | None:
    """Return the last line of the input that a record covers; None if it is not one of ours."""
    try:
        record: Any = msgspec.json.decode(text)
        end = record[REJECTED].get("end", record[REJECTED]["line"])
    except (msgspec.DecodeError, AttributeError, TypeError, KeyError):
        return None
    return end if isinstance(end, int) else None
