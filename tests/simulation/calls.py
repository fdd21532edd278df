"""Inputs of callers, and what the contract makes of them in the next poll."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .expect import CLOSED, Wrong
from .model import Authorization, Client, Event, Flushing, Wait
from .state import KeyState

if TYPE_CHECKING:
    from collections import Counter

    from masivo.protocol import FlushTicket, Ticket

__all__ = ["Calls"]


class Calls(KeyState):
    """The callers' side of the model."""

    def accepted(self, event: Event) -> None:
        """``send`` took an event."""
        client = event.client
        client.accepted += 1
        client.pending += 1
        client.pending_bytes += event.sample.size
        client.inbox.append(event)
        self.inbox.append(lambda: self._take_in(event))

    def _take_in(self, event: Event) -> None:
        client = event.client
        client.inbox.remove(event)
        if event.inside and self.key_refused():
            event.untold = self.key_refusal
        elif event.inside and self.long_hold():
            event.untold = self.long_hold_error
        client.last_at = max(client.last_at, event.at)
        if client.detached:
            self.end(event, client.closing or CLOSED)
        elif self.key_refused():
            self.end(event, self.key_refusal)
        else:
            client.waiting.append(event)

    def overflowed(self, client: Client) -> None:
        """``send`` found no room for an event: everything that waits is due."""
        client.overflowed += 1
        if not client.overflowing:
            client.overflowing = True
            self.inbox.append(lambda: self._overflowed(client))

    def _overflowed(self, client: Client) -> None:
        client.overflowing = False
        for event in client.waiting:
            event.due = True

    def flush(self, client: Client, ticket: FlushTicket) -> None:
        """``flush`` was called."""

        def do() -> None:
            for event in client.waiting:
                event.due = True
            events = [*client.waiting, *(e for f in client.batches for e in f.events())]
            reported = client.reported
            client.flushes.append(
                Flushing(
                    ticket,
                    events,
                    reported,
                    client.delivered - reported[0],
                    client.failed - reported[1],
                )
            )
            self.end_flushes(client)

        self.inbox.append(do)

    def begin_wait(self, event: Event, at: float) -> None:
        """A caller began to wait for an outcome, at a time."""
        client, wait = event.client, Wait(event, max(at, self.now))
        client.unseen_waits.append(wait)

        def do() -> None:
            client.unseen_waits.remove(wait)
            client.waits.append(wait)

        self.inbox.append(do)

    def end_wait(self, event: Event) -> None:
        """The caller that waited for an outcome has given up."""

        def do() -> None:
            event.client.waits = [each for each in event.client.waits if each.event is not event]

        self.inbox.append(do)

    def drain(self, client: Client, ticket: Ticket) -> None:
        """``drain`` was called, and there was no room."""

        def do() -> None:
            if client.detached:
                self.promised[ticket] = CLOSED
            else:
                client.drains.append(ticket)

        self.inbox.append(do)

    def cancel(self, client: Client, ticket: Ticket) -> None:
        """A drain or a flush was given up."""

        def do() -> None:
            if ticket in client.drains:
                client.drains.remove(ticket)
                self.cancelled.add(ticket)
            for flushing in [each for each in client.flushes if each.ticket is ticket]:
                client.flushes.remove(flushing)
                self.cancelled.add(ticket)

        self.inbox.append(do)

    def want_token(self, client: Client, ticket: Ticket) -> None:
        """``token`` was called."""

        def do() -> None:
            if client.detached:
                self.promised[ticket] = CLOSED
            elif self.alive() and self.token is not None:
                self.promised[ticket] = self.token
            elif self.key_refused():
                self.promised[ticket] = self.key_refusal
            elif self.long_hold() and self.authorization is None:
                self.promised[ticket] = self.long_hold_error
            else:
                self.token_tickets.append((client, ticket))
                if self.token is not None:
                    self.revoke()  # it has expired
                if self.authorization is None:
                    self.authorization = Authorization(self.now + self.jitter())

        self.inbox.append(do)

    def close(self, client: Client, ticket: Ticket, timeout: float | None, at: float) -> None:
        """``close`` was called, at a time."""
        client.closed = True

        def do() -> None:
            if client.detached:
                self.promised[ticket] = True
                return
            client.closes.append(ticket)
            for event in client.waiting:
                event.due = True
            if timeout is not None and at + timeout < client.deadline:
                client.deadline = at + timeout
                client.closing = Wrong(CLOSED.kind, says=(f"{timeout:g}",))

        self.inbox.append(do)

    def destroy(self, client: Client, says: str) -> None:
        """``destroy`` was called."""
        client.closed = True
        wrong = Wrong(CLOSED.kind, says=(says,))
        self.inbox.append(lambda: self.release(client, wrong))

    def abandon(self, clients: list[Client], why: str, warnings: Counter[str]) -> None:
        """``abandon`` or ``abort`` was called: one warning must count the lost events."""

        def do() -> None:
            lost = sum(client.pending for client in clients)
            if lost:
                events = "1 event was" if lost == 1 else f"{lost} events were"
                warnings[f"{events} not sent: {why}"] += 1
            for client in list(clients):
                self.release(client, Wrong(CLOSED.kind, says=(why,)), quiet=True)

        self.inbox.append(do)
