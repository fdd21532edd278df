"""The files that are kept for people, for a while and in bounded space: rejected events, and
damaged parts of logs.

Rejected events are JSON Lines that ``masivo import`` takes again. Each process writes files of its
own, so no lock is needed; the name of a file says when it was begun.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from masivo.protocol import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masivo.protocol import RejectedEvent

    from .disk import Disk

__all__ = ["BAD", "SUFFIX", "RejectedFiles", "kept_file", "rejected_line"]

SUFFIX: Final = ".rejected.jsonl"
BAD: Final = ".bad"
_KEPT: Final = 30 * 86_400
"""The least number of seconds for which an event is kept."""
_NEVER: Final = float("inf")
_BEGUN: Final = 86_400
"""Seconds after which a new file is begun: an event may be kept this much longer."""
_FILES: Final = 10
"""The bound is divided into about this many files; the oldest is deleted first."""


class RejectedFiles:
    """The writer of the files.

    Args:
        disk: of the directory.
        most: the most bytes of these files in the directory.
    """

    def __init__(self, disk: Disk, most: int) -> None:
        self._disk = disk
        self._most = most
        self._name = ""
        self._size = 0
        self._process = 0

    def add(self, events: Sequence[RejectedEvent], now: float) -> int:
        """Write events; return how many older ones were deleted to make room.

        Raises:
            StoreError: they cannot be written.
        """
        data = b"".join(map(rejected_line, events))
        process = self._disk.process()
        if (
            not self._name
            or process != self._process
            or self._size >= self._most // _FILES
            or now - _begun(self._name) > _BEGUN
        ):
            self._name = kept_file(now, SUFFIX)
            self._size, self._process = 0, process
        try:
            self._disk.append(self._name, data)
        except OSError as error:
            raise StoreError(f"rejected events cannot be kept: {error.strerror or error}") from None
        self._size += len(data)
        return self.clean(now, crowded=(SUFFIX, BAD))

    def clean(self, now: float, *, crowded: tuple[str, ...] = (BAD,)) -> int:
        """Delete files past their time, and the oldest ones past the bound; return how many events
        were deleted before their time.

        Args:
            now: seconds since the epoch.
            crowded: the endings of files that make way. Events make way for later ones only: a
                client whose bound is smaller deletes none of others' merely by being there.
        """
        crowded_out = total = 0
        try:
            names = sorted(each for each in self._disk.names() if each.endswith((SUFFIX, BAD)))
            for name in reversed(names):
                if _begun(name) == _NEVER:
                    continue
                total += self._disk.size(name)
                if now - _begun(name) > _KEPT + _BEGUN:
                    self._disk.delete(name)
                elif total > self._most and name.endswith(crowded) and name != self._name:
                    crowded_out += _count(self._disk, name) if name.endswith(SUFFIX) else 0
                    self._disk.delete(name)
        except OSError:
            pass  # at the next opportunity
        return crowded_out


def kept_file(now: float, suffix: str) -> str:
    """The name of a file that is begun now."""
    return f"{int(now * 1000):013d}-{os.urandom(4).hex()}{suffix}"


def rejected_line(event: RejectedEvent) -> bytes:
    """A rejected event as a line of JSON Lines."""
    why = {"reason": event.reason, "status": event.status, "at": event.at}
    return b'{"rejected":%b,"event":%b}\n' % (msgspec.json.encode(why), event.event)


def _begun(name: str) -> float:
    """The time at which a file was begun; infinity for a file of another name."""
    try:
        return int(name.partition("-")[0]) / 1000
    except ValueError:
        return _NEVER


def _count(disk: Disk, name: str) -> int:
    count = offset = 0
    while piece := disk.read(name, offset, 1 << 20):
        count += piece.count(b"\n")
        offset += len(piece)
    return count
