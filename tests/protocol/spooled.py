"""A driver with a store: the spool, over a disk in memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from spool.memory import Machine, Process
from spool.simulation import books

from masivo._protocol.batches.spooled import SpooledOutbox
from masivo.spool import Spool
from protocol.requests import is_authorization
from protocol.simulator import BASE_URL, KEY, START, Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from masivo.protocol import Buffer, ClientOptions, Output

__all__ = ["SpoolDriver"]


class SharedSpool(Spool):
    """A spool that other callers, or polls, use in the middle of a call.

    Attributes:
        before: called before the next event, or the next group of events, is written.
        after: called once it is written.
        tended: how often it was tended.
    """

    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    tended: int = 0

    def tend(self) -> bool:
        """See Store."""
        self.tended += 1
        return super().tend()

    def append(self, event: bytes, at: float, certain: bool) -> int:
        """See Store."""
        with self._shared():
            return super().append(event, at, certain)

    def append_all(self, events: Sequence[bytes], at: float, certain: bool) -> Sequence[int]:
        """See Store."""
        with self._shared():
            return super().append_all(events, at, certain)

    @contextmanager
    def _shared(self) -> Generator[None]:
        before, after = self.before, self.after
        self.before = self.after = None
        if before is not None:
            before()
        yield
        if after is not None:
            after()


class SpoolDriver(Driver):
    """A process with one client, whose events are kept on a machine's disk.

    Attributes:
        disk: the machine.
        process: the process; ``kill`` ends it.
    """

    def __init__(
        self,
        disk: Machine | None = None,
        *,
        at: float = START,
        key: str = KEY,
        most: int = 1 << 30,
        segment: int = 1 << 22,
        quick: bool = True,
        listening: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        self.disk = Machine() if disk is None else disk
        self.process = Process(self.disk)
        self._bounds = most, segment
        self._quick = quick
        super().__init__(key=key, listening=listening, **options)
        self.now = at

    def attach(self) -> Buffer:
        """See Driver: with a store."""
        most, segment = self._bounds
        wall = lambda: self.wall + self.now - START  # noqa: E731 (as the engine's)
        key = self.settings.account.api_key.reveal()
        self.spool = SharedSpool(self.process, key, BASE_URL, most, segment, wall)
        self.spool.quick = self._quick
        return self.engine.attach(self.settings, store=self.spool)

    def poll(self) -> None:
        """See Driver; and the client's numbers are those of what it holds."""
        super().poll()
        if isinstance(self.outbox, SpooledOutbox) and not self.engine.pending:
            books.check(self.buffer)

    def _poll(self) -> Output:
        output = super()._poll()
        batches = sum(not is_authorization(each) for each in self.out)
        assert batches <= self.settings.max_in_flight, "too many batches in flight"
        return output

    def files(self, ending: str = "") -> list[str]:
        """The files on the disk, by their ending."""
        return [name for name in self.disk.files if name.endswith(ending)]
