"""The end of a segment, to which callers append.

The descriptor is never closed while a caller may be about to write to it: the next segment replaces
the file under the same number (``dup2``), and so, at the end, does a file that rejects writes.

Other code, such as a daemonizer, may close it, and the number may then belong to another file or
socket, which must not get our events. On Linux the file position detects that: with O_APPEND,
``pwrite`` appends whatever its offset, and does not move the position. So it stays where we set it,
at a random number that no other file is at. Elsewhere ``fstat`` detects it (``CheckedTail``), which
takes longer.
"""

from __future__ import annotations

import errno
import os
import random
import sys
from typing import Final

__all__ = ["DEFAULT", "CheckedTail", "LostError", "ShortWriteError", "Tail"]

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class LostError(Exception):
    """The descriptor is not ours any more."""


class ShortWriteError(OSError):
    """Fewer bytes were written than requested: there is no more room."""

    def __init__(self, written: int) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.written = written


class Tail:
    """The end of a segment, to which callers append.

    Args:
        folder: the folder of the segments.
        name: the name of the first segment, which is made.
        exists: True if it may exist already.

    Raises:
        OSError: it cannot be made.
    """

    # Class attributes, for a tail whose making was interrupted.
    _fd = -1
    _stopped = False
    _identity: tuple[int, int] | None = None

    def __init__(self, folder: str, name: str, *, exists: bool = False) -> None:
        self.generation: object = object()
        """A new object as soon as ``write`` writes to another file. A write that began in one
        generation and ended in another may have come after the former file was read to its end."""
        self._seal = random.SystemRandom().randrange(1 << 30, 1 << 31)
        self._folder = folder
        flags = _FLAGS if exists else _FLAGS | os.O_EXCL
        self._fd = os.open(f"{folder}/{name}", flags, 0o600)
        self._identity = _identity(self._fd)
        os.lseek(self._fd, self._seal, os.SEEK_SET)

    def write(self, data: bytes) -> None:
        """Append a record, in one write. From anywhere, at any time.

        Raises:
            LostError: the descriptor is not ours any more. Nothing was written.
            OSError: it was not written as a whole.
        """
        try:
            if os.lseek(self._fd, 0, os.SEEK_CUR) != self._seal:
                raise LostError
        except OSError as error:
            if error.errno in (errno.EBADF, errno.ESPIPE):  # closed, or a socket
                raise LostError from None
            raise
        written = os.pwrite(self._fd, data, 0)
        if written != len(data):
            raise ShortWriteError(written)

    @property
    def is_ours(self) -> bool:
        """False if the descriptor was closed, or belongs to another file."""
        try:
            return _identity(self._fd) == self._identity and self._is_sealed()
        except OSError:
            return False

    def _is_sealed(self) -> bool:
        # Another file may have got the inode of a deleted one. (A device has no position.)
        return self._stopped or os.lseek(self._fd, 0, os.SEEK_CUR) == self._seal

    @property
    def is_linked(self) -> bool:
        """False if the file was deleted, or the descriptor is not ours."""
        try:
            return self.is_ours and os.fstat(self._fd).st_nlink > 0
        except OSError:
            return False

    def cut(self, length: int) -> None:
        """Remove this many bytes from the end."""
        os.ftruncate(self._fd, self.size - length)

    @property
    def size(self) -> int:
        """The bytes in the segment."""
        return os.fstat(self._fd).st_size

    def move(self, name: str) -> None:
        """Continue in another segment, which is made.

        Raises:
            OSError: it cannot be made; nothing has changed.
            LostError: the descriptor is not ours any more.
        """
        self._replace(os.open(f"{self._folder}/{name}", _FLAGS | os.O_EXCL, 0o600))

    def stop(self) -> bool:
        """Make every later write fail, and return True; False if that is impossible. The descriptor
        stays open until no caller can be writing."""
        try:
            self._replace(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            self._stopped = True
        except (LostError, OSError):
            self.generation = object()
        return self._stopped

    def _replace(self, fd: int) -> None:
        try:
            if not self.is_ours:
                raise LostError
            os.lseek(fd, self._seal, os.SEEK_SET)
            identity = _identity(fd)
            os.dup2(fd, self._fd, inheritable=False)
            self._identity = identity
            self.generation = object()
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the descriptor, if it is ours."""
        ours, fd, self._fd = self.is_ours, self._fd, -1
        if ours:
            os.close(fd)

    def __del__(self) -> None:
        if self._fd >= 0:
            self.close()


class CheckedTail(Tail):
    """A tail for any system; an append costs twice as much."""

    def _is_sealed(self) -> bool:
        return True  # each write moves the position

    def write(self, data: bytes) -> None:
        """See Tail."""
        if not self.is_ours:
            raise LostError
        written = os.write(self._fd, data)
        if written != len(data):
            raise ShortWriteError(written)


DEFAULT: Final[type[Tail]] = Tail if sys.platform == "linux" else CheckedTail
"""The tail for this system."""


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
