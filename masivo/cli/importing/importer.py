"""Sends the records, as fast as the client has room for them, and never more than that."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, cast

from masivo import Client, MasivoValidationError

from .progress import Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from types import FrameType

    from masivo.cli.account import Account

    from .ledger import Ledger
    from .lines import Lines
    from .progress import Display
    from .records import Record

__all__ = ["Importer", "make_client"]

GRACE: Final = 10.0
"""Seconds that are given to what is on its way when the import is broken off."""

_TICK: Final = 0.2  # seconds between looks at progress and signals while waiting
_LOOK_EVERY: Final = 100  # records between looks at what has been answered
_MOST_HELD: Final = 20_000  # records behind one that waits for its outcome
_MOST_BYTES: Final = 32 << 20  # of lines whose events are with the client
_MAX_EVENT: Final = 262_144


def make_client(account: Account, *, batch_size: int, in_flight: int, retries: int) -> Client:
    """A client for an import: it takes some batches more than are on their way."""
    events = batch_size * (in_flight + 2)
    return Client(
        account.key.reveal(),
        base_url=account.base_url,
        batch_size=batch_size,
        max_in_flight=in_flight,
        max_retries=retries,
        max_queue=events,
        # The lines are bounded by ``_MOST_BYTES``; this only must not be in the way.
        max_queue_bytes=events * _MAX_EVENT + (64 << 20),
        idle_timeout=1.0,
        max_event_bytes=_MAX_EVENT,
    )


class Importer:
    """One run of an import.

    Args:
        client: made by ``make_client``; it is closed at the end.
        ledger: accounts for the records.
        lines: where they come from.
        display: shows how far it is.
        room: how many records may be with the client when one more is sent.
    """

    def __init__(
        self, client: Client, ledger: Ledger, lines: Lines, display: Display, room: int
    ) -> None:
        self.interrupted = 0
        """How many signals asked for an end."""
        self._client = client
        self._ledger = ledger
        self._lines = lines
        self._display = display
        self._room = room

    def run(self, records: Iterable[Record]) -> bool:
        """Send all records; whether that was all of them, each with its outcome."""
        ended = False
        try:
            with self._signals():
                try:
                    ended = self._send(records)
                except KeyboardInterrupt:  # in a wait for standard input
                    pass
                finally:
                    self._finish()
        finally:
            self._client.destroy()
        return ended and not self._ledger.undone()

    def _send(self, records: Iterable[Record]) -> bool:
        ledger, send = self._ledger, self._client.send_analytics_event
        look_in = _LOOK_EVERY
        for record in records:
            if record.skip:
                ledger.skipped(record)
            elif record.problem is not None:
                ledger.rejected(record, record.problem)
            else:
                try:
                    delivery = send(cast("Mapping[str, object]", record.event))
                except MasivoValidationError as error:
                    ledger.rejected(record, error.message)
                else:
                    ledger.sent(record, delivery)
            look_in -= 1
            if look_in == 0 or self._is_full():
                look_in = _LOOK_EVERY
                self._make_room()
            if self.interrupted or ledger.failure is not None:
                return False
        return True

    def _is_full(self) -> bool:
        ledger = self._ledger
        return (
            ledger.outstanding > self._room
            or ledger.outstanding_bytes > _MOST_BYTES
            or ledger.held > _MOST_HELD
        )

    def _make_room(self) -> None:
        self._look()
        while self._is_full() and not self.interrupted and self._ledger.failure is None:
            with suppress(TimeoutError):
                if self._ledger.outstanding > self._room:
                    self._client.drain(_TICK)
                else:
                    self._client.flush(_TICK)
            self._look()

    def _look(self) -> None:
        self._ledger.settle()
        if time.monotonic() >= self._display.due:
            state = self._ledger.state
            self._display.update(Sample(state.delivered, state.rejected, self._lines.position))

    def _finish(self) -> None:
        """Wait for what is on its way."""
        ledger, deadline = self._ledger, None
        while ledger.outstanding and ledger.failure is None:
            with suppress(TimeoutError):
                self._client.flush(_TICK)
            self._look()
            if self.interrupted:
                deadline = deadline or time.monotonic() + GRACE
                if self.interrupted > 1 or time.monotonic() > deadline:
                    break
        self._client.close(GRACE if ledger.failure is not None else 0.0)
        ledger.settle()
        ledger.save(safe=True)

    @contextmanager
    def _signals(self) -> Generator[None]:
        """Have Ctrl-C and its like end the import in order, at a place that suits it."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupted += 1
        if self._lines.reading:
            raise KeyboardInterrupt
