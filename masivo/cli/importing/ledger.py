"""The outcome of every record, if it has one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from masivo import MasivoClosedError
from masivo.cli.exits import is_rejection_of_event
from masivo.protocol import Failed

if TYPE_CHECKING:
    from masivo import MasivoError
    from masivo.protocol import Delivery

    from .records import Record
    from .rejects import Rejects
    from .state import State, StateFile

__all__ = ["Ledger"]

_SHOWN: Final = 3
"""This many reasons are shown at the end."""


@dataclass(slots=True, eq=False)
class _Entry:
    record: Record
    delivery: Delivery | None
    """The delivery of its event; None once the outcome is known."""
    done: bool
    """True once it is accounted for: delivered or rejected."""
    error: MasivoError | None = None
    """The error of an event that is neither."""


class Ledger:
    """The records from the first without an outcome on, in constant memory.

    Args:
        state: of the import so far; it is kept up to date.
        file: where the state is kept; None if there is nothing to resume from.
        rejects: takes the rejected events.
        in_order: True if outcomes arrive in the order of the records.
    """

    def __init__(
        self, state: State, file: StateFile | None, rejects: Rejects, *, in_order: bool
    ) -> None:
        self.state = state
        self.outstanding: int = 0
        """The number of pending records."""
        self.outstanding_bytes: int = 0
        self.failure: MasivoError | None = None
        """The first error that is not due to an event, or the one that a probe has got."""
        self.probing: bool = False
        """True while the pending event is a probe: its rejection ends the import, and does not
        count."""
        self.accepted: int = 0
        """The number of events that the API has accepted in this run."""
        self.rejections: int = 0
        """The number of events that the API has rejected in this run."""
        self._entries: deque[_Entry] = deque()
        self._file = file
        self._rejects = rejects
        self.reasons: list[str] = []
        """The reasons of the first few rejections."""
        self._in_order = in_order
        self._changed = False
        self._ahead = list(state.beyond)
        """Ranges that an earlier run has accounted for, and this one has not reached yet."""

    @property
    def kept(self) -> int:
        """The number of records kept here: from the first without an outcome on."""
        return len(self._entries)

    def sent(self, record: Record, delivery: Delivery) -> None:
        """Add a record that was passed to the client."""
        self.outstanding += 1
        self.outstanding_bytes += record.size
        self._take(_Entry(record, delivery, done=False))

    def unsent(self, records: list[Record]) -> None:
        """Add records that were read, and not passed to the client, as the import ends."""
        for record in records:
            self._take(_Entry(record, None, done=False, error=self.failure))

    def skipped(self, record: Record) -> None:
        """Add a record that an earlier run has accounted for."""
        if record.end > self.state.lines:
            self._take(_Entry(record, None, done=True))

    def rejected(self, record: Record, reason: str) -> None:
        """Add a record that is invalid and was not sent."""
        self._reject(record, reason, None)
        self._take(_Entry(record, None, done=True))

    def _take(self, entry: _Entry) -> None:
        self._entries.append(entry)
        while self._ahead and self._ahead[0][1] <= entry.record.end:
            self._ahead.pop(0)

    def _reject(self, record: Record, reason: str, status: int | None) -> None:
        self.state.rejected += 1
        if len(self.reasons) < _SHOWN:
            self.reasons.append(f"line {record.line}: {reason}")
        self._rejects.add(record, reason, status)
        record.event, record.rest = None, {}  # it may be kept here until those before it are done
        self._changed = True

    def settle(self) -> None:
        """Collect new outcomes, and save the state if they change it."""
        for entry in self._entries:
            if entry.delivery is None:
                continue
            outcome = entry.delivery.claim()
            if outcome is None:
                if self._in_order:
                    break
                continue
            entry.delivery = None
            self.outstanding -= 1
            self.outstanding_bytes -= entry.record.size
            if not isinstance(outcome, Failed):
                self.state.delivered += 1
                self.accepted += 1
                entry.record.event = None
                entry.done = self._changed = True
            elif is_rejection_of_event(outcome.error) and not self.probing:
                self._reject(entry.record, str(outcome.error), outcome.error.status)
                self.rejections += 1
                entry.done = True
            else:
                entry.error = outcome.error
                if not isinstance(
                    outcome.error, MasivoClosedError
                ):  # caused by the end of the import
                    self.failure = self.failure or outcome.error
        if self._changed:
            self._advance()
            self.save()

    def _advance(self) -> None:
        state, entries = self.state, self._entries
        while entries and entries[0].done:
            record = entries.popleft().record
            self._note_high(record)
            state.lines = record.end
        state.beyond = []
        previous = False
        for entry in entries:
            if entry.done:
                first = state.beyond.pop()[0] if previous else entry.record.end
                state.beyond.append((first, entry.record.end))
                self._note_high(entry.record)
            previous = entry.done
        state.beyond += self._ahead

    def _note_high(self, record: Record) -> None:
        if record.end > self.state.high:
            self.state.high, self.state.crc = record.end, record.crc

    def save(self, *, safe: bool = False) -> None:
        """Save everything: first the rejected events, then the state that counts them."""
        self.state.rejected_size = self._rejects.write() or self.state.rejected_size
        if self._file is not None:
            self._file.save(self.state, safe=safe)
        self._changed = False

    def complete(self, lines: int, crc: int) -> None:
        """Save that all of an input of this many lines is accounted for."""
        self.state.lines = self.state.high = lines
        self.state.crc, self.state.finished = crc, True
        self.save(safe=True)

    def close(self) -> None:
        """Close the file of rejected events."""
        self._rejects.close()

    def undone(self) -> list[tuple[Record, MasivoError | None]]:
        """Return the records that were read and are not accounted for."""
        return [(entry.record, entry.error) for entry in self._entries if not entry.done]

    def reject_undone(self) -> None:
        """Write undelivered records to the file of rejected events, as the input cannot be read
        again."""
        for entry in self._entries:
            if not entry.done:
                error = entry.error
                status = None if error is None else error.status
                self._reject(entry.record, f"not delivered: {error or 'interrupted'}", status)
                entry.done = True
        if self._changed:
            self._advance()
            self.save()
