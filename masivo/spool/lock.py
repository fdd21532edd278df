"""The lock of a log: a file under ``flock``, held for as long as a process has the log.

``flock`` belongs to the open file, not to the process: it survives when the process opens and
closes the file elsewhere, and when a child closes its copy of the descriptor. It is released only
by closing: ``LOCK_UN`` in a child would release its parent's.

The file is the last of a log to be deleted, under the lock. So after taking the lock, a process
checks that the path still leads to the locked file.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

__all__ = ["Lock", "is_locked"]


class Lock:
    """A lock that is held; ``make`` and ``take`` give one.

    Args:
        path: of the file.
        fd: of the file, under ``flock``.
    """

    _fd = -1  # for a lock whose making was interrupted

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        status = os.fstat(fd)
        self._identity = status.st_dev, status.st_ino
        self._fd = fd  # last: from here on it is closed with the lock

    @classmethod
    def make(cls, path: str, content: bytes) -> Lock | None:
        """Make a file that is locked and complete from the start. None if another process
        interfered: try again, under another name.

        Raises:
            OSError: it cannot be made.
        """
        folder, name = os.path.split(path)
        draft = os.path.join(folder, "." + name)  # noqa: PTH118 (this is in the call to send)
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        lock = cls(path, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, content)  # for people; the package does not rely on it
            os.rename(draft, path)  # noqa: PTH104
        except (BlockingIOError, FileNotFoundError):  # taken for an abandoned draft
            lock.release()
            return None
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)  # noqa: PTH108
            lock.release()
            raise
        return lock

    @classmethod
    def take(cls, path: str, *, create: bool = False) -> Lock | None:
        """Take the lock of a file; None if another holds it, or there is no file.

        Args:
            path: of the file.
            create: True to make the file if it is missing.

        Raises:
            OSError: it cannot be opened.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        except FileNotFoundError:
            return None
        lock = cls(path, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.release()
            return None
        if not lock.is_held:
            lock.release()
            return None
        return lock

    @property
    def is_held(self) -> bool:
        """False if the descriptor was closed by others, or the file deleted or replaced."""
        try:
            ours = os.fstat(self._fd)
            there = os.stat(self.path)  # noqa: PTH116
        except OSError:
            return False
        return self._identity == (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def delete(self) -> None:
        """Delete the file and release the lock."""
        if self.is_held:
            with suppress(OSError):
                os.unlink(self.path)  # noqa: PTH108
        self.release()

    def release(self) -> None:
        """Release the lock, by closing. In the child of a fork, the parent's lock stays."""
        fd, self._fd = self._fd, -1
        with suppress(OSError):
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == self._identity:
                os.close(fd)

    def __del__(self) -> None:
        if self._fd >= 0:
            self.release()


def is_locked(path: str) -> bool:
    """Return True if a process holds the lock of a file; False if there is no file.

    The only way to know is to try. The lock is taken shared for a moment, so that two processes
    that try do not see each other as owners; an owner cannot take it in that moment.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
