"""The content of a directory, for people: logs, rejected events, damaged parts. Nothing is changed.

A log is read as it is at the moment, even while a process appends to it. The only way to find out
if a process holds it is to try its lock: an adopter that tries at the same moment skips the log
until its next scan.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from masivo.protocol import StoreError

from .disk import Folder
from .lock import is_locked
from .log import LOCK, Log, lock_of
from .rejected import BAD, SUFFIX
from .spool import Header, account_digest, account_in, prefix_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from masivo.protocol import Stored, Window

__all__ = ["SECRET", "Survey", "SurveyedLog"]

SECRET: Final = "relay.secret"  # noqa: S105 (the name of the file)
"""The file with which a relay on this spool signs its tokens."""

_EVENTS: Final = 1_000
"""The most events that are read at once, and below the most bytes."""
_BYTES: Final = 1_048_576
_OURS: Final = re.compile(
    r"\.?v[0-9]+-.+\.(lock|log|notes)|[0-9]{13}-.+\.(bad|rejected\.jsonl)|" + re.escape(SECRET)
)
"""The files of a spool, of any version."""


class SurveyedLog(msgspec.Struct, frozen=True):
    """One log."""

    name: str
    account: str | None
    """The part of the account's SHA-256 that is in the name; None: the log is of a newer version
    of the format, and was not read."""
    base_url: str | None
    """The address of the account; None if it can no longer be read."""
    held: bool
    """True while a process has the log."""
    events: int
    """The number of events that were not removed."""
    bytes: int
    """The bytes of these events."""
    oldest: float | None
    """The time at which the oldest of them was stored, in seconds since the epoch."""
    damaged: int
    """Parts that cannot be read; the adopter keeps them in a file of their own."""

    def is_of(self, api_key: str) -> bool:
        """Return True if the log belongs to the account of a key."""
        return self.base_url is not None and self.name.startswith(
            prefix_of(account_digest(api_key, self.base_url))
        )


class Survey:
    """Reads a directory; each method shows its present content.

    Args:
        path: of the directory.
    """

    def __init__(self, path: str) -> None:
        self._disk = _ReadOnly(path)

    def is_spool(self) -> bool:
        """Return True if the directory may be a spool: it is empty, or has a file of one.

        Raises:
            OSError: the directory cannot be read.
        """
        names = self._disk.names()
        return not names or any(map(_OURS.fullmatch, names))

    def logs(self) -> Iterator[SurveyedLog]:
        """Yield every log, after reading all of it.

        Raises:
            OSError: the directory, or a file in it, cannot be read.
        """
        for lock in self._locks():
            name = lock.removesuffix(LOCK)
            held = is_locked(self._disk.at(lock))
            events = size = damaged = 0
            oldest: float | None = None
            for window in self._windows(name):
                damaged += window.damaged
                for stored in window.events:
                    events += 1
                    size += len(stored.event)
                    oldest = stored.at if oldest is None else min(oldest, stored.at)
            yield SurveyedLog(
                name,
                account_in(name),
                self._base_url(lock),
                held,
                events,
                size,
                oldest,
                0 if held else damaged,  # its end may be a record that is being written
            )

    def events(self) -> Iterator[Stored]:
        """Yield the events that were not removed, log by log.

        Raises:
            OSError: the directory, or a file in it, cannot be read.
        """
        for lock in self._locks():
            for window in self._windows(lock.removesuffix(LOCK)):
                yield from window.events

    def rejected(self) -> Iterator[bytes]:
        """Yield the lines of rejected events, the oldest first.

        Raises:
            OSError: the directory, or a file in it, cannot be read.
        """
        for name in sorted(self._names()):
            if not name.endswith(SUFFIX):
                continue
            rest, offset = b"", 0
            while piece := self._disk.read(name, offset, _BYTES):
                offset += len(piece)
                *lines, rest = (rest + piece).split(b"\n")
                yield from filter(None, lines)
            # A line without an end is being written.

    def damaged(self) -> tuple[int, int]:
        """The number of files with damaged parts, and their bytes.

        Raises:
            OSError: the directory cannot be read.
        """
        sizes = [self._disk.size(name) for name in self._names() if name.endswith(BAD)]
        return len(sizes), sum(sizes)

    def _names(self) -> list[str]:
        return [name for name in self._disk.names() if _OURS.fullmatch(name)]

    def _locks(self) -> list[str]:
        names = self._names()
        locks = {name for name in names if name.endswith(LOCK) and not name.startswith(".")}
        return sorted(locks.union(filter(None, map(lock_of, names))))

    def _base_url(self, lock: str) -> str | None:
        try:
            return msgspec.json.decode(self._disk.read(lock, 0, 65_536), type=Header).base_url
        except msgspec.MsgspecError:
            return None

    def _windows(self, name: str) -> Iterator[Window]:
        if account_in(name) is None:
            return
        log, after, end = Log(self._disk, name, _NoLock(), ""), None, False
        while not end:
            try:
                window = log.read(after, _EVENTS, _BYTES)
            except StoreError as error:
                raise OSError(str(error)) from None
            after, end = window.after, window.end
            yield window


class _ReadOnly(Folder):
    """A directory that ``Log`` cannot change."""

    def at(self, name: str) -> str:
        return self._at(name)

    def append(self, name: str, data: bytes) -> None:
        """See Disk."""

    def delete(self, name: str) -> None:
        """See Disk."""


class _NoLock:
    """Stands for the lock of a log that is only read (``DiskLock``)."""

    is_held = True

    def delete(self) -> None:
        """See DiskLock."""

    def release(self) -> None:
        """See DiskLock."""
