"""What lies in a log, or in a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo.spool import Spool

from .conftest import BOUND, KEY, URL

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.protocol import Stored, StoredLog, Window

EVERYTHING = 10**9


def everything(log: StoredLog) -> Window:
    """All that a log holds."""
    return log.read(None, EVERYTHING, EVERYTHING)


def bodies(log: StoredLog | None) -> list[bytes]:
    """The events of a log."""
    return [] if log is None else [each.event for each in everything(log).events]


def in_windows(log: StoredLog, events: int) -> list[Stored]:
    """All that a log holds, read in windows of this many events."""
    found: list[Stored] = []
    after = None
    while True:
        window = log.read(after, events, EVERYTHING)
        assert len(window.events) <= events
        found += window.events
        after = window.after
        if window.end:
            return found


def empty(folder: Path, key: str = KEY) -> tuple[list[bytes], int]:
    """Adopt and end all that was left in a directory: the events, and how many parts of the files
    were damaged."""
    spool = Spool(str(folder), key, URL, BOUND)
    events: list[bytes] = []
    damaged = 0
    for log in spool.adopt():
        window = everything(log)
        events += [each.event for each in window.events]
        damaged += window.damaged
        log.remove([each.position for each in window.events])
        log.release()
    spool.release()
    return events, damaged


def listing(folder: Path) -> list[str]:
    """The names of all files."""
    return sorted(path.name for path in folder.iterdir())


def files(folder: Path, kind: str) -> list[Path]:
    """The files of a kind (``log``, ``notes``, ``lock``, ``bad``), in order."""
    return sorted(folder.glob(f"*.{kind}"))
