"""The state of an import between its runs: a file beside the imported one.

It is replaced as a whole after each batch, so that it is consistent however the import ends.
Every record that it lists as done has an outcome; other records may be in flight.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from masivo.cli.exits import UsageError

from .records import Shape  # noqa: TC001 (the state is decoded by its annotations)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["State", "StateFile"]

_VERSION: Final = 1


@dataclass(slots=True)
class State:
    """The progress of an import."""

    base_url: str
    shape: Shape
    """The options that turn lines into events."""
    rejected_file: str
    lines: int = 0
    """Every record up to this line is accounted for."""
    beyond: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Further ranges of lines, first and last, in which every record is accounted for."""
    high: int = 0
    """The last line of all these."""
    crc: int = 0
    """The CRC-32 of the (unpacked) lines up to that one (``Lines.crc``)."""
    delivered: int = 0
    rejected: int = 0
    rejected_size: int = 0
    """Bytes of the file of rejected events that this state accounts for."""
    finished: bool = False
    version: int = _VERSION

    def covers(self, end: int) -> bool:
        """Return whether the record that ends with this line is accounted for."""
        if end <= self.lines:
            return True
        return end <= self.high and any(first <= end <= last for first, last in self.beyond)


class StateFile:
    """The file of a state.

    Raises:
        UsageError: something else is there, such as a device.
    """

    def __init__(self, path: Path) -> None:
        with suppress(OSError):  # ``load`` and ``save`` report it
            if not stat.S_ISREG(path.stat().st_mode):
                raise UsageError(f"{path} is not a regular file: name another with --state")
        self.path = path
        self._next = path.with_name(path.name + ".next")

    def load(self) -> State | None:
        """Return the state, or None if there is no file.

        Raises:
            UsageError: the file is not a state of this version.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror or error}") from None
        try:
            state = msgspec.json.decode(data, type=State)
        except msgspec.DecodeError:
            state = None
        if state is None or state.version != _VERSION:
            raise UsageError(
                f"{self.path} is not the state of an import that this version can resume. If "
                "you know that nothing of the file has been sent, delete it"
            )
        return state

    def save(self, state: State, *, safe: bool = False) -> None:
        """Replace the state.

        Args:
            state: the new state.
            safe: True if it must survive a failure of the machine, not only of the process.

        Raises:
            UsageError: it cannot be written.
        """
        try:
            data = msgspec.json.encode(state)
        except UnicodeEncodeError:
            raise UsageError(
                f"the name {state.rejected_file!r} is not UTF-8: name another file with --rejected"
            ) from None
        try:
            with self._next.open("wb") as file:
                file.write(data)
                if safe:
                    file.flush()
                    os.fsync(file.fileno())
            self._next.replace(self.path)
        except OSError as error:
            raise UsageError(
                f"cannot write {self.path}: {error.strerror or error}; --state names another place"
            ) from None
