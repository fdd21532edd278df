"""A disk in memory for several processes, which fails on order.

A process may be killed before or after any operation; the power may fail, which cuts any part off
the end of any file that was written since it was last synced (nothing ever is); the disk may be
full. The operations are those of ``masivo.spool.disk.Disk``, and mean the same.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from masivo.spool.tail import LostError

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


class Killed(BaseException):
    """The process was killed."""


class File:
    """A file: it lives on for whoever has it open when its name is gone."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.owner: Process | None = None
        """The process that holds its lock."""


class Machine:
    """The files, and the power."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.full = False
        self.operations = 0

    def fail(self, random: random.Random) -> None:
        """Cut off what was not yet on the disk, in a file each."""
        for file in self.files.values():
            file.owner = None
            if random.random() < 0.5:
                del file.data[random.randint(0, len(file.data)) :]


class Process:
    """A process: one ``Disk``, that of a single spool.

    Args:
        machine: it runs on.
        kill_after: it is killed at this operation.
        late: the operation is carried out all the same.
    """

    path = "/spool"
    pids = 0

    def __init__(
        self, machine: Machine, kill_after: int | None = None, *, late: bool = False
    ) -> None:
        Process.pids += 1
        self.machine = machine
        self.pid = Process.pids
        self.killed = False
        self.starved = False
        """It has no descriptor left to read a file with."""
        self._kill_after = kill_after
        self._late = late

    def process(self) -> int:
        """See Disk."""
        return self.pid

    def rest(self) -> None:
        """See Disk: nobody runs meanwhile."""

    def step(self, *, writes: bool = False) -> bool:
        """Begin an operation; True if the process is to be killed behind it."""
        if self.killed:
            raise Killed
        self.machine.operations += 1
        if self._kill_after is not None:
            self._kill_after -= 1
            if self._kill_after <= 0:
                if not self._late:
                    self.kill()
                    raise Killed
                return True
        if writes and self.machine.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return False

    def end(self, killed: bool) -> None:
        """End an operation."""
        if killed:
            self.kill()
            raise Killed

    def kill(self) -> None:
        """End the process: its locks are free."""
        self.killed = True
        for file in self.machine.files.values():
            if file.owner is self:
                file.owner = None

    # ── Disk ─────────────────────────────────────────────────────────────────────────────────

    def names(self) -> Sequence[str]:
        """See Disk."""
        self.step()
        return list(self.machine.files)

    def size(self, name: str) -> int:
        """See Disk."""
        self.step()
        file = self.machine.files.get(name)
        return 0 if file is None else len(file.data)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """See Disk."""
        self.step()
        if self.starved:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        file = self.machine.files.get(name)
        return b"" if file is None else bytes(file.data[offset : offset + size])

    def append(self, name: str, data: bytes) -> None:
        """See Disk."""
        killed = self.step(writes=True)
        self.machine.files.setdefault(name, File()).data += data
        self.end(killed)

    def delete(self, name: str) -> None:
        """See Disk."""
        killed = self.step()
        self.machine.files.pop(name, None)
        self.end(killed)

    def make_lock(self, name: str, content: bytes) -> MemoryLock | None:
        """See Disk."""
        killed = self.step(writes=True)
        lock = MemoryLock(self, name, File(content))
        self.machine.files[name] = lock.file
        self.end(killed)
        return lock

    def take_lock(self, name: str, *, create: bool = False) -> MemoryLock | None:
        """See Disk."""
        self.step()
        if create:
            self.machine.files.setdefault(name, File())
        file = self.machine.files.get(name)
        return MemoryLock(self, name, file) if file is not None and file.owner is None else None

    def make_tail(self, name: str) -> MemoryTail:
        """See Disk."""
        killed = self.step(writes=True)
        tail = MemoryTail(self, name)
        self.end(killed)
        return tail

    def close(self) -> None:
        """See Disk: nothing is kept open."""


class MemoryLock:
    """See DiskLock."""

    def __init__(self, process: Process, name: str, file: File) -> None:
        self.file = file
        self._process = process
        self._name = name
        file.owner = process

    @property
    def is_held(self) -> bool:
        """See DiskLock."""
        self._process.step()
        return (
            self.file.owner is self._process
            and self._process.machine.files.get(self._name) is self.file
        )

    def delete(self) -> None:
        """See DiskLock."""
        killed = self._process.step()
        if self._process.machine.files.get(self._name) is self.file:
            del self._process.machine.files[self._name]
        self.release()
        self._process.end(killed)

    def release(self) -> None:
        """See DiskLock."""
        if self.file.owner is self._process:
            self.file.owner = None


class MemoryTail:
    """See DiskTail."""

    def __init__(self, process: Process, name: str) -> None:
        self.generation: object = object()
        self._process = process
        self._file: File | None = None
        self._open(name)

    def _open(self, name: str) -> None:
        assert name not in self._process.machine.files
        self._name = name
        self._file = self._process.machine.files[name] = File()

    def write(self, data: bytes, /) -> None:
        """See DiskTail. On a full disk half of it is written."""
        if self._file is None:
            raise LostError
        try:
            killed = self._process.step(writes=True)
        except OSError:
            self._file.data += data[: len(data) // 2]
            raise
        self._file.data += data
        self._process.end(killed)

    @property
    def is_linked(self) -> bool:
        """See DiskTail."""
        self._process.step()
        return self._process.machine.files.get(self._name) is self._file

    @property
    def size(self) -> int:
        """See DiskTail."""
        return 0 if self._file is None else len(self._file.data)

    def move(self, name: str) -> None:
        """See DiskTail."""
        killed = self._process.step(writes=True)
        self._open(name)
        self.generation = object()
        self._process.end(killed)

    def stop(self) -> bool:
        """See DiskTail."""
        self._file = None
        self.generation = object()
        return True

    def close(self) -> None:
        """See DiskTail."""
        self.stop()
