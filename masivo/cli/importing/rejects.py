"""The file of rejected events: JSON Lines that can be corrected and imported as they are.

A record holds ``rejected`` (why, and which line it was) beside what there is of the event:
``event``; or ``text``, a line that was no JSON; or ``row``, a row of a CSV file that made no
event. ``records`` reads them.
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
    """Writes the file; it is made when the first event is rejected."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._waiting: list[bytes] = []

    def check_new(self) -> None:
        """Refuse to add to the file of another import, or to begin where none can be made.

        Raises:
            UsageError: it is there, or cannot be.
        """
        if not os.access(self.path.parent, os.W_OK):
            raise UsageError(f"cannot write to {self.path.parent}: name another with --rejected")
        if self.path.exists():
            raise UsageError(
                f"{self.path} is there already, from an earlier import: move it away, or name "
                "another file with --rejected"
            )

    def resume(self, size: int, done: Callable[[int], bool]) -> None:
        """Cut off what a killed import wrote last without having accounted for it.

        If there is anything else behind ``size``, the file was edited since, and stays as it is.
        """
        try:
            with self.path.open("r+b") as file:
                file.seek(size)
                tail = file.read()
                whole = tail[: tail.rfind(b"\n") + 1]  # on a full disk the last was cut off
                lines = [_line_of(text) for text in whole.splitlines()]
                if tail and all(line is not None and not done(line) for line in lines):
                    file.truncate(size)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror or error}") from None

    def add(self, record: Record, reason: str, status: int | None) -> None:
        """Note a rejected event; ``write`` writes it."""
        why: dict[str, object] = {"line": record.line, "reason": reason, "status": status}
        if record.end != record.line:
            why["end"] = record.end
        rest = record.rest if record.problem is not None else {EVENT: record.event}
        self._waiting.append(_encode({REJECTED: why, **rest}) + b"\n")

    def write(self) -> int:
        """Write what was noted; returns the file's size in bytes.

        Raises:
            UsageError: it cannot be written.
        """
        if not self._waiting and self._file is None:
            return 0
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._file = os.open(self.path, flags, 0o600)
            data = memoryview(b"".join(self._waiting))
            while data:
                data = data[os.write(self._file, data) :]
            self._waiting = []
            return os.fstat(self._file).st_size
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close the file, once it is safely on the disk."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None


def _line_of(text: bytes) -> int | None:
    """The last line of the input that a record speaks of; None if it is not of our making."""
    try:
        record: Any = msgspec.json.decode(text)
        end = record[REJECTED].get("end", record[REJECTED]["line"])
    except (msgspec.DecodeError, AttributeError, TypeError, KeyError):
        return None
    return end if isinstance(end, int) else None
