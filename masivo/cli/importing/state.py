"""What is known of an import between its runs: a file beside the one that is imported.

It is replaced as a whole each time that a batch has its answer, so that whoever finds it, after
whatever end, finds one that was true. What it says is done has been answered; what it does not
say may be on its way.
"""

from __future__ import annotations

import os
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
    """How far an import has come."""

    base_url: str
    shape: Shape
    """The options that make events of lines."""
    rejected_file: str
    lines: int = 0
    """Every record up to this line has been accounted for."""
    beyond: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Further lines, first and last, within which every record has been."""
    high: int = 0
    """The last line of all these."""
    crc: int = 0
    """The CRC-32 of the (unpacked) input up to the end of that line."""
    delivered: int = 0
    rejected: int = 0
    rejected_size: int = 0
    """Bytes of the file of rejected events that belong to what is told here."""
    finished: bool = False
    version: int = _VERSION

    def covers(self, end: int) -> bool:
        """Whether the record that ends with this line has been accounted for."""
        if end <= self.lines:
            return True
        return end <= self.high and any(first <= end <= last for first, last in self.beyond)


class StateFile:
    """Where a state is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = path.with_name(path.name + ".next")

    def load(self) -> State | None:
        """The state, or None if there is no file.

        Raises:
            UsageError: there is something else in it.
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
                f"{self.path} is not the state of an import that this version can go on with. If "
                "you know that nothing of the file has been sent, delete it"
            )
        return state

    def save(self, state: State, *, safe: bool = False) -> None:
        """Replace the state.

        Args:
            state: what is true now.
            safe: whether it must outlive a failure of the machine, and not of the process alone.

        Raises:
            UsageError: it cannot be written.
        """
        try:
            with self._next.open("wb") as file:
                file.write(msgspec.json.encode(state))
                if safe:
                    file.flush()
                    os.fsync(file.fileno())
            self._next.replace(self.path)
        except OSError as error:
            raise UsageError(
                f"cannot write {self.path}: {error.strerror or error}; --state names another place"
            ) from None
