"""Every operation on files that a spool uses.

A simulator implements ``Disk`` to crash between any two operations and to lose data that was not
yet on the disk. All names are of one directory.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import sleep
from typing import TYPE_CHECKING, Final, Protocol

from .lock import Lock
from .place import make_place
from .process import process
from .tail import DEFAULT, LostError, ShortWriteError, Tail

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Disk", "DiskLock", "DiskTail", "Folder"]

_REST: Final = 5e-5
"""Seconds of a rest. A read or a write alone gives up the interpreter's lock, but takes it again
before a waiting thread has woken up."""


class DiskLock(Protocol):
    """A lock that is held (``Lock``)."""

    @property
    def is_held(self) -> bool:
        """False if the file was deleted or replaced, or others closed the descriptor."""
        ...

    def delete(self) -> None:
        """Delete the file and release the lock."""
        ...

    def release(self) -> None:
        """Release the lock."""
        ...


class DiskTail(Protocol):
    """The end of a segment, to which callers append (``Tail``)."""

    generation: object

    def write(self, data: bytes, /) -> None:
        """Append a record, in one write. From anywhere, at any time.

        Raises:
            LostError: the descriptor is not ours any more. Nothing was written.
            OSError: it was not written as a whole.
        """
        ...

    @property
    def is_linked(self) -> bool:
        """False if the file was deleted, or the descriptor is not ours."""
        ...

    @property
    def size(self) -> int:
        """The bytes in the segment.

        Raises:
            OSError: the descriptor is not ours any more.
        """
        ...

    def move(self, name: str) -> None:
        """Continue in another segment, which is made.

        Raises:
            OSError: it cannot be made; nothing has changed.
            LostError: the descriptor is not ours any more.
        """
        ...

    def stop(self) -> bool:
        """Make every later write fail, and return True; False if that is impossible. Never
        raises."""
        ...

    def close(self) -> None:
        """Close the descriptor, once no caller can be writing."""
        ...


class Disk(Protocol):
    """The files of one directory. Each method may raise OSError, unless it says otherwise."""

    @property
    def path(self) -> str:
        """The directory, for messages."""
        ...

    def process(self) -> int:
        """A number that differs in the child of a fork. Never raises."""
        ...

    def names(self) -> Sequence[str]:
        """The names of all files."""
        ...

    def size(self, name: str) -> int:
        """The bytes in a file; 0 if there is none."""
        ...

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Bytes of a file: fewer than requested, or none, at its end or if there is no file."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Append to a file, wholly or with an OSError; the file is made if it is missing."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file. Never raises."""
        ...

    def make_lock(self, name: str, content: bytes) -> DiskLock | None:
        """Make a file that is locked and complete from the start; None: try another name. Makes
        the directory, too."""
        ...

    def take_lock(self, name: str, *, create: bool = False) -> DiskLock | None:
        """Take a file's lock; None if another holds it, or there is no such file.

        Args:
            name: of the file.
            create: True to make the file if it is missing.
        """
        ...

    def make_tail(self, name: str) -> DiskTail:
        """Make a segment to append to."""
        ...

    def rest(self) -> None:
        """Let callers run that wait to append. Never raises."""
        ...

    def close(self) -> None:
        """Close the file that ``append`` keeps open. Never raises."""
        ...


class Folder:
    """A directory: the ``Disk`` of every client.

    It uses ``os`` alone, as ``pathlib`` would double the time of an append that makes a log.

    Args:
        path: absolute.
    """

    tail: type[Tail] = DEFAULT
    # Not wrapped: every append calls it.
    process: staticmethod[[], int] = staticmethod(process)

    def __init__(self, path: str) -> None:
        self.path: str = path
        self._open: tuple[str, Tail] | None = None  # the file that was appended to last

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def names(self) -> Sequence[str]:
        """See Disk."""
        return os.listdir(self.path)  # noqa: PTH208

    def size(self, name: str) -> int:
        """See Disk."""
        try:
            return os.stat(self._at(name)).st_size  # noqa: PTH116
        except FileNotFoundError:
            return 0

    def read(self, name: str, offset: int, size: int) -> bytes:
        """See Disk."""
        try:
            fd = os.open(self._at(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, size, offset)
        finally:
            os.close(fd)

    def append(self, name: str, data: bytes) -> None:
        """See Disk."""
        while True:
            if self._open is None or self._open[0] != name:
                self.close()
                self._open = name, self.tail(self.path, name, exists=True)
            tail = self._open[1]
            try:
                tail.write(data)
            except LostError:
                self.close()
            except ShortWriteError as error:
                tail.cut(error.written)  # no other process writes to it
                raise
            else:
                return

    def delete(self, name: str) -> None:
        """See Disk."""
        if self._open is not None and self._open[0] == name:
            self.close()
        with suppress(OSError):
            os.unlink(self._at(name))  # noqa: PTH108

    def make_lock(self, name: str, content: bytes) -> Lock | None:
        """See Disk."""
        try:
            return Lock.make(self._at(name), content)
        except FileNotFoundError:
            make_place(self.path)
            return Lock.make(self._at(name), content)

    def take_lock(self, name: str, *, create: bool = False) -> Lock | None:
        """See Disk."""
        return Lock.take(self._at(name), create=create)

    def make_tail(self, name: str) -> Tail:
        """See Disk."""
        return self.tail(self.path, name)

    def rest(self) -> None:
        """See Disk."""
        sleep(_REST)

    def close(self) -> None:
        """See Disk."""
        kept, self._open = self._open, None
        if kept is not None:
            kept[1].close()
