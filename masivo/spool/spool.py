"""One client's store: its own log, and those that it adopts.

The first caller that appends makes the own log, in any thread, without a lock: if several make one
at once, the first that is entered counts, and the others are deleted. In the same way a new log
replaces it in the child of a fork, or after it was lost.

A log's account is in its name, as a power failure can empty a file that was never synced to the
disk.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from masivo.protocol import StoreError

from .bodies import packed_group
from .disk import Folder
from .log import LOCK, Log, first_segment, lock_of
from .records import CERTAIN, GROUP_CERTAIN, GROUP_UNCERTAIN, LONGEST, UNCERTAIN, encode
from .rejected import BAD, RejectedFiles, kept_file
from .tail import LostError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from masivo.protocol import RejectedEvent

    from .disk import Disk, DiskLock, DiskTail

__all__ = ["Header", "Spool", "account_digest", "account_in", "prefix_of"]

VERSION: Final = 1
_SEGMENT: Final = 4_194_304
"""Bytes after which a segment is closed, at most."""
_PART: Final = 16
"""The bound is divided into at least this many segments, so that space is freed in time."""
_SHORT: Final = 0.75
"""The share of the bound from which on room is short."""
_REJECTED: Final = 10
"""Rejected events may take the bound divided by this."""
_ALIKE: Final = 63
"""The bound is checked at each position without these bits, and for a large event."""
_LARGE: Final = 4_096
_BLOCK: Final = 4_096
"""The number of positions that are made at once."""


class Header(msgspec.Struct):
    """The content of a log's lock file, for people and for ``masivo spool``."""

    version: int
    account: str
    base_url: str
    pid: int
    made: float


def account_digest(api_key: str, base_url: str) -> str:
    """The name of an account, which does not show its key."""
    return sha256(f"{base_url}\0{api_key}".encode()).hexdigest()


class _Block:
    """Consecutive positions, and the block after them, which is claimed once."""

    __slots__ = ("following", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.following: dict[None, _Block] = {}


class _Positions(deque[int]):
    """Numbers that ``popleft`` and ``take`` return once only, to any threads and signal
    handlers."""

    def __init__(self) -> None:
        super().__init__(range(_BLOCK))
        self._last = _Block(0)

    def take(self, count: int) -> list[int]:
        """Take some; where there are too few, more are made."""
        taken: list[int] = []
        while len(taken) < count:
            try:
                taken.append(self.popleft())
            except IndexError:
                self._refill()
        return taken

    def taken(self) -> int | None:
        """The number that all numbers below have been taken, and none from it on; None if others
        are about to take or to make some, so that it is not known."""
        last = self._last
        while (following := last.following.get(None)) is not None:
            last = following  # a caller that was delayed may have set `_last` back
        end = (last.number + 1) * _BLOCK  # first: what is made afterwards is not below it
        try:
            left = tuple(self)
        except RuntimeError:  # others changed it meanwhile
            return None
        begin = end - len(left)
        return begin if left == tuple(range(begin, end)) else None

    def _refill(self) -> None:
        last = self._last
        mine = _Block(last.number + 1)
        following = last.following.setdefault(None, mine)
        self._last = following
        if following is mine:
            self.extend(range(mine.number * _BLOCK, (mine.number + 1) * _BLOCK))


class _Held:
    """The own log, as callers see it."""

    def __init__(
        self, serial: int, process: int, name: str, lock: DiskLock, tail: DiskTail
    ) -> None:
        self.serial = serial
        self.process = process
        self.name = name
        self.lock = lock
        self.tail = tail
        self.torn: list[int] = []


class Spool:
    """See Store.

    Args:
        disk: the path of the directory, or the operations on it.
        api_key: the account's; it is not kept.
        base_url: the account's.
        max_bytes: the most bytes of this client's logs, adopted ones included.
        segment: bytes after which a segment is closed.
        clock: seconds since the epoch.
        also: names of logs of other accounts to adopt.
        replaced_key: True to adopt logs of the same ``base_url`` under any key.
        on_fork: a function that gives the client a new store; called in the child of a fork that
            bypassed Python's hooks, at the child's first append. That append, to the old store,
            then fails. None: the append succeeds, and begins a log of the child's own.
    """

    def __init__(
        self,
        disk: Disk | str,
        api_key: str,
        base_url: str,
        max_bytes: int,
        segment: int = _SEGMENT,
        clock: Callable[[], float] = time.time,
        also: Collection[str] = (),
        replaced_key: bool = False,
        on_fork: Callable[[], object] | None = None,
    ) -> None:
        self.quick: bool = True
        """See Store."""
        self._on_fork = on_fork
        self._also = frozenset(also)
        self._replaced_key = replaced_key
        self._disk: Disk = Folder(disk) if isinstance(disk, str) else disk
        self._base_url = base_url
        self._clock = clock
        self._account = account_digest(api_key, base_url)
        self._max_bytes = max_bytes
        self._segment = max(1, min(segment, max_bytes // _PART))
        self._process = self._disk.process
        self._owner = self._process()  # the process whose logs these are
        self._positions = _Positions()
        self._next = self._positions.popleft
        self._held: _Held | None = None
        self._successors: dict[int, _Held] = {}
        self._released = False
        self._full = False
        self._other_size = 0  # bytes of all logs, without the segment that callers append to
        self._own: Log | None = None
        self._own_held: _Held | None = None
        self._lost = False  # a new log has replaced the own one
        self._adopted: list[Log] = []
        self._strangers: set[str] = set()
        self._rejected = RejectedFiles(self._disk, max_bytes // _REJECTED)

    def __repr__(self) -> str:
        return f"<Spool {self._disk.path} {self._base_url}>"

    # ── In the call to send: from anywhere, at any time ──────────────────────────────────────

    def append(self, event: bytes, at: float, certain: bool) -> int:
        """See Store."""
        try:
            position = self._next()
        except IndexError:
            (position,) = self._positions.take(1)
        record = encode(CERTAIN if certain else UNCERTAIN, position, at, event)
        if self._full or not position & _ALIKE or len(record) > _LARGE:
            self._check_bound(len(record))
        self._append(record, position)
        return position

    def append_all(self, events: Sequence[bytes], at: float, certain: bool) -> Sequence[int]:
        """See Store. They are one record: if it is incomplete (torn), none of them is stored."""
        positions = self._positions.take(len(events))
        kind = GROUP_CERTAIN if certain else GROUP_UNCERTAIN
        record = encode(kind, positions[0], at, packed_group(positions, events))
        self._check_bound(len(record))
        self._append(record, positions[0])
        return positions

    def _append(self, record: bytes, position: int) -> None:
        while True:
            held = self._held
            if held is None or held.process != self._process():
                if self._notice_fork() and self._on_fork is not None:
                    self._on_fork()
                    raise StoreError("the spool belongs to the parent of this process")
                self._begin(None)
                continue
            tail = held.tail
            generation = tail.generation
            try:
                tail.write(record)
            except LostError:
                self._begin(held)
                continue
            except OSError as error:
                if error.errno is None:  # from a signal handler, such as one for a timeout
                    raise
                if self._released:
                    raise _released() from None
                held.torn.append(position)
                raise self._unwritable(error) from None
            if tail.generation is generation:
                return

    def _check_bound(self, size: int) -> None:
        if size > LONGEST:
            raise StoreError(f"the event is too large for the spool ({size} bytes)")
        self._full = self._size + size > self._max_bytes
        if self._full:
            raise StoreError(
                f"the spool is full (spool_max_bytes={self._max_bytes}, in {self._disk.path})"
            )

    @property
    def has_room(self) -> bool:
        """See Store."""
        return self._size < self._max_bytes

    @property
    def _size(self) -> int:
        """The bytes of all logs, as far as known."""
        held = self._held
        try:
            newest = 0 if held is None else held.tail.size
        except OSError:
            newest = 0
        return self._other_size + newest

    def _unwritable(self, error: OSError) -> StoreError:
        why = error.strerror or str(error)
        return StoreError(f"the spool in {self._disk.path} cannot be written: {why}")

    def _begin(self, former: _Held | None) -> None:
        """Replace a log by a new one, or by that which another caller has entered."""
        if self._released:
            raise _released()
        serial = 0 if former is None else former.serial
        held = self._successors.get(serial)
        if held is None:
            try:
                fresh = self._make(serial + 1)
            except OSError as error:
                if error.errno is None:
                    raise
                raise self._unwritable(error) from None
            held = self._successors.setdefault(serial, fresh)
            if held is not fresh or self._released:
                self._log_of(fresh).release()
        self._held = held

    def _make(self, serial: int) -> _Held:
        made = self._clock()
        process = self._process()
        content = msgspec.json.encode(
            Header(VERSION, self._account, self._base_url, process, round(made, 3))
        )
        while True:
            name = f"{prefix_of(self._account)}{int(made * 1000):013d}-{os.urandom(4).hex()}"
            lock = self._disk.make_lock(f"{name}{LOCK}", content)
            if lock is not None:
                try:
                    tail = self._disk.make_tail(first_segment(name))
                except OSError as error:
                    if error.errno is not None:  # else it was interrupted: adopters clean up
                        lock.delete()
                    raise
                return _Held(serial, process, name, lock, tail)

    @property
    def due(self) -> bool:
        """See Store."""
        held, own = self._held, self._own
        if held is None or held.process != self._process():
            return any(log.to_sweep for log in self._adopted)
        if self._full or held is not self._own_held or own is None or own.is_stuck:
            return True
        if own.to_sweep or any(log.to_sweep for log in self._adopted):
            return True
        try:
            return held.tail.size >= self._segment
        except OSError:
            return True

    # ── The poll's side ──────────────────────────────────────────────────────────────────────

    @property
    def own(self) -> Log | None:
        """See Store."""
        held = self._held
        if held is None or held.process != self._process():
            return None
        if held is not self._own_held:
            if self._own is not None:
                self._own.let_go()
                self._lost = True
            self._own = self._log_of(held)
            self._own_held = held
        return self._own

    def _log_of(self, held: _Held) -> Log:
        bad = kept_file(self._clock(), BAD)
        taken = self._positions.taken
        return Log(
            self._disk,
            held.name,
            held.lock,
            bad,
            held.tail,
            held.torn,
            taken,
            in_polls=self.quick,
        )

    def tend(self) -> bool:
        """See Store."""
        own = self.own
        if own is not None:
            if not own.is_linked and not self._released:
                with suppress(StoreError):  # the next append tries again
                    self._begin(self._own_held)
                own = self.own or own
            own.tend(self._segment, short=self._size > _SHORT * self._max_bytes)
        self._adopted = [log for log in self._adopted if log.is_linked]
        for log in self._adopted:
            log.tend(self._segment)
        self._measure()
        self._rejected.clean(self._clock())
        lost, self._lost = self._lost, False
        return not lost

    def _measure(self) -> None:
        adopted = sum(log.size for log in self._adopted)
        self._other_size = adopted + (0 if self._own is None else self._own.closed_size)

    def adopt(self) -> Iterator[Log]:
        """See Store."""
        self._notice_fork()
        try:
            names = set(self._disk.names())
        except OSError:
            return
        locks = {name for name in names if name.endswith(LOCK)}
        # A log's lock is made before its segments and deleted after them; a lost one is made again.
        locks.update(filter(None, map(lock_of, names)))
        strangers: set[str] = set()
        for file in sorted(locks):
            log = None
            with suppress(OSError):  # try again next time
                if (
                    file.startswith(prefix_of(self._account))
                    or file.removesuffix(LOCK) in self._also
                    or (self._replaced_key and self._is_of_this_url(file))
                ):
                    log = self._adopt(file, create=file not in names)
                elif file.startswith("."):
                    self._clear(file)
                elif file in self._strangers or self._is_left(file):
                    strangers.add(file)
            if log is not None:
                self._adopted.append(log)
                self._measure()
                yield log
        self._strangers = strangers

    def _adopt(self, file: str, *, create: bool) -> Log | None:
        lock = None if self._released else self._disk.take_lock(file, create=create)
        if lock is None:
            return None
        try:
            return Log(self._disk, file.removesuffix(LOCK), lock, kept_file(self._clock(), BAD))
        except OSError:
            lock.release()
            raise

    def _clear(self, file: str) -> None:
        """Delete the draft of a lock whose maker was killed."""
        lock = self._disk.take_lock(file)
        if lock is not None:
            lock.delete()

    def _is_of_this_url(self, file: str) -> bool:
        try:
            header = msgspec.json.decode(self._disk.read(file, 0, 65_536), type=Header)
        except msgspec.MsgspecError:
            return False
        return header.version == VERSION and header.base_url == self._base_url

    def _is_left(self, file: str) -> bool:
        lock = self._disk.take_lock(file)
        if lock is not None:
            lock.release()
        return lock is not None

    @property
    def strangers(self) -> int:
        """See Store."""
        return len(self._strangers)

    def reject(self, events: Sequence[RejectedEvent]) -> int:
        """See Store."""
        return self._rejected.add(events, self._clock())

    # ── The end ──────────────────────────────────────────────────────────────────────────────

    def release(self) -> None:
        """See Store."""
        self._released = True
        own = self.own
        for log in self._adopted if own is None else [*self._adopted, own]:
            log.release()
        self._adopted = []
        self._disk.close()

    def _notice_fork(self) -> bool:
        """Do what ``forked`` does in a child that Python does not know of, and return True there.
        Before it adopts, too: later its own logs would be dropped with its parent's."""
        if self._owner == self._process():
            return False
        self.forked()
        return True

    def forked(self) -> None:
        """See Store."""
        self._owner = self._process()
        for log in self._adopted:
            log.let_go()
        self._adopted = []
        held, self._held = self._held, None
        self._own = self._own_held = None
        self._lost = False
        self._successors = {}
        self._full = False
        self._other_size = 0
        if held is not None:
            held.lock.release()
            held.tail.stop()


def prefix_of(account: str) -> str:
    """The prefix of the names of an account's logs: the version of the format, and the account."""
    return f"v{VERSION}-{account[:16]}-"


def account_in(name: str) -> str | None:
    """The part of an account's digest that the name of a log shows; None for a log of a newer
    version of the format."""
    version, _, rest = name.partition("-")
    return rest.partition("-")[0] if version == f"v{VERSION}" else None


def _released() -> StoreError:
    return StoreError("the spool was released: its client is closed")
