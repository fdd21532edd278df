"""Sending of the records, as fast as the client has room for them."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, cast

from masivo import Client, MasivoValidationError
from masivo.cli import terminal
from masivo.cli.exits import UsageError

from .documented import problem_of
from .lines import DamagedInputError
from .progress import Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from types import FrameType

    from masivo.cli.account import Account

    from .ledger import Ledger
    from .lines import Lines
    from .progress import Display
    from .records import Record

__all__ = ["Importer", "make_client", "reason_of"]

GRACE: Final = 10.0
"""Seconds that batches in flight have to finish when the import is interrupted."""

_TICK: Final = 0.2  # seconds between checks of progress and signals while waiting
_MAX_KEPT: Final = 20_000  # records behind one without an outcome
_MAX_BYTES: Final = 32 << 20  # of lines whose events are pending
_AHEAD_BYTES: Final = 4 << 20  # of lines read ahead
_ENOUGH: Final = 100  # events that all seem wrong, for the suspicion that a whole file is
_MAX_EVENT: Final = 262_144


def make_client(account: Account, *, batch_size: int, in_flight: int, retries: int) -> Client:
    """Return a client for an import."""
    events = batch_size * in_flight
    return Client(
        account.key.reveal(),
        base_url=account.base_url,
        batch_size=batch_size,
        max_in_flight=in_flight,
        max_retries=retries,
        max_queue=events,
        # ``_MAX_BYTES`` bounds the lines; this bound must not apply before it.
        max_queue_bytes=events * _MAX_EVENT + (64 << 20),
        idle_timeout=1.0,
        max_event_bytes=_MAX_EVENT,
        spool=None,  # nor that of MASIVO_SPOOL: --resume would send again what it kept
    )


def reason_of(error: MasivoValidationError) -> str:
    """Return why an event is invalid, with the options of the command as the way out."""
    text = error.message
    if text.startswith("brand_id is missing"):
        return "brand_id is missing: add --no-brand, or --brand ID for the events without one"
    return text


class Importer:
    """One run of an import.

    The client gets no more events than the batches that may be in flight. The next batch is read
    ahead, and submitted once an outcome has been recorded: so an import that is killed leaves no
    more events unrecorded than were in flight.

    Args:
        client: made by ``make_client``; it is closed at the end.
        ledger: accounts for the records.
        lines: the input that they come from.
        display: shows the progress.
        batch_size: that of the client.
        in_flight: that of the client.
        wary: end the import when the API rejects all that it is sent.
    """

    def __init__(
        self,
        client: Client,
        ledger: Ledger,
        lines: Lines,
        display: Display,
        *,
        batch_size: int,
        in_flight: int,
        wary: bool,
    ) -> None:
        self.interrupted: int = 0
        """The number of signals to end the import."""
        self._client = client
        self._ledger = ledger
        self._lines = lines
        self._display = display
        self._most = batch_size * in_flight
        self._room = batch_size * (in_flight - 1)
        self._wary = wary
        self._patience = max(_ENOUGH, 2 * batch_size)
        # Records from a pipe are not kept back until more arrive.
        self._ahead = batch_size if lines.size is not None else 1

    @property
    def sent(self) -> bool:
        """True if anything was sent: nothing is without a token."""
        return self._client.stats().requests > 0

    def run(self, records: Iterable[Record]) -> bool:
        """Send the records; return whether all of them were sent and have their outcome."""
        ended = False
        try:
            with self._signals():
                try:
                    ended = self._send(records)
                except KeyboardInterrupt:  # while waiting for standard input
                    pass
                finally:
                    self._finish()
        finally:
            self._client.destroy()
        return ended and not self._ledger.undone()

    def _send(self, records: Iterable[Record]) -> bool:
        ledger = self._ledger
        for chunk in _chunks(records, self._ahead):
            sent = ledger.outstanding or ledger.accepted
            ledger.probing = self._wary and not sent and _seems_wrong(chunk)
            for number, record in enumerate(chunk):
                if record.skip:
                    ledger.skipped(record)
                elif record.problem is not None:
                    self._reject(record, record.problem)
                elif not self._submit(record):
                    if self._lines.is_stream:  # it cannot be read again
                        ledger.unsent(chunk[number:])
                    return False
                elif ledger.probing and ledger.outstanding:
                    if not self._make_room(0):
                        return False
                    ledger.probing = False
            self._update()
            if self._ends or (ledger.kept > _MAX_KEPT and not self._make_room(0)):
                return False
        return True

    def _submit(self, record: Record) -> bool:
        """Pass a record to the client; return False, without doing so, if the import ends."""
        ledger = self._ledger
        if ledger.outstanding >= self._most and not self._make_room(self._room):
            return False
        if ledger.outstanding_bytes > _MAX_BYTES and not self._make_room(0):
            return False
        try:
            delivery = self._client.send_analytics_event(cast("Mapping[str, object]", record.event))
        except MasivoValidationError as error:
            self._reject(record, reason_of(error))
        else:
            ledger.sent(record, delivery)
        return True

    def _reject(self, record: Record, reason: str) -> None:
        """Note that a record is invalid. A torn one is left to a later run.

        Raises:
            DamagedInputError: it is torn.
        """
        if record.torn:
            raise DamagedInputError(
                f"line {record.end}, the last one, has no newline at its end, and may be "
                f"incomplete: {reason}. Complete it, or remove it"
            )
        self._ledger.rejected(record, reason)

    @property
    def _ends(self) -> bool:
        return self.interrupted > 0 or self._ledger.failure is not None or self.all_rejected

    @property
    def all_rejected(self) -> bool:
        """True if the API has accepted no event, and rejected two batches or more."""
        ledger = self._ledger
        return self._wary and not ledger.accepted and ledger.rejections >= self._patience

    def _make_room(self, room: int) -> bool:
        """Wait until at most ``room`` records are pending; return False if the import ends."""
        while not self._ends:
            with suppress(TimeoutError):
                if room:
                    self._client.drain(_TICK)
                else:
                    self._client.flush(_TICK)
            self._update()
            if self._ledger.outstanding <= room:
                return not self._ends
        return False

    def _update(self) -> None:
        self._ledger.settle()
        if time.monotonic() >= self._display.due:
            state = self._ledger.state
            self._display.update(Sample(state.delivered, state.rejected, self._lines.position))

    def _finish(self) -> None:
        """Wait for the pending events."""
        ledger, deadline = self._ledger, None
        while ledger.outstanding and ledger.failure is None and not self.all_rejected:
            with suppress(TimeoutError):
                self._client.flush(_TICK)
            self._update()
            if self.interrupted:
                if deadline is None:
                    deadline = time.monotonic() + GRACE
                    terminal.note(
                        f"Waiting up to {GRACE:.0f} s for batches in flight "
                        "(Ctrl-C again: not at all)."
                    )
                if self.interrupted > 1 or time.monotonic() > deadline:
                    break
        self._client.close(GRACE if ledger.failure is not None or self.all_rejected else 0.0)
        ledger.settle()
        ledger.save(safe=True)

    @contextmanager
    def _signals(self) -> Generator[None]:
        """Make Ctrl-C and similar signals end the import cleanly, at a safe point. One that is
        ignored (``nohup``, ``&`` in a script) stays ignored."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        heeded = [number for number in numbers if before[number] is not signal.SIG_IGN]
        for number in heeded:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number in heeded:
                signal.signal(number, before[number])

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupted += 1
        if self._lines.reading:
            raise KeyboardInterrupt


def _seems_wrong(chunk: list[Record]) -> bool:
    """Return whether it holds events, enough of them, that all break documented rules."""
    events = [record.event for record in chunk if record.event is not None]
    return len(events) >= _ENOUGH and all(map(problem_of, events))


def _chunks(records: Iterable[Record], size: int) -> Generator[list[Record]]:
    """Yield the records in lists of this size, or shorter ones of long records.

    Records before an error are yielded before it is raised.
    """
    chunk: list[Record] = []
    length = 0
    try:
        for record in records:
            chunk.append(record)
            length += record.size
            if len(chunk) == size or length > _AHEAD_BYTES:
                yield chunk
                chunk, length = [], 0
    except (DamagedInputError, UsageError):
        yield chunk
        raise
    yield chunk
