"""The inspector's data as JSON: requests with their events, tokens, counters.

A page polls with a cursor and gets the changes since then. Nothing waits here, and no state of a
page is kept: a page that was slow or asleep gets what it missed with its next poll. In addition to
the emulator's records there is only the state of the guesses, which is bounded.
"""

import json
import secrets
import threading
from collections import OrderedDict
from dataclasses import asdict
from typing import Final

from masivo._protocol.wire.serving import BASE_PATH
from masivo._protocol.wire.statuses import REJECTED
from masivo.emulator.api import CLIENT_KEY, OURS
from masivo.emulator.exchange import Desk
from masivo.emulator.inspector.curl import command
from masivo.emulator.inspector.trigger import Batch, Guess, Guesser, Trigger
from masivo.emulator.records import Change, RecordedRequest
from masivo.emulator.responses import Json
from masivo.emulator.switches import Switches

# The number of newest events and requests that a page gets; it keeps no more itself.
MAX_EVENTS: Final = 20_000
MAX_REQUESTS: Final = 2_000
# A response of the feed ends with the request that reaches this many events.
EVENTS_AT_ONCE: Final = 2_000
# The number of characters of an event's JSON in the feed, for the search in the page.
PREVIEW: Final = 1_000
# The number of characters of any other text.
TEXT: Final = 200
# The number of characters by which a client names a batch.
NAME: Final = 8
# The evidence for a trigger that is no guess.
SAID: Final = "the client says so"
# The number of newest tokens in the feed.
MAX_TOKENS: Final = 20


class Inspector:
    """The server side of the page. Thread-safe."""

    def __init__(self, desk: Desk) -> None:
        self.desk: Desk = desk
        self._id = secrets.token_hex(8)
        self._lock = threading.Lock()
        # The triggers that clients have named, by the beginnings of Idempotency-Keys.
        self._told: OrderedDict[str, str] = OrderedDict()
        self._forget()

    def feed(self, run: str, after: int) -> dict[str, object]:
        """Return the changes that a page has not seen yet.

        run, after: `run` and `cursor` of the page's last response; with another run, or 0, all is
        returned from the start.
        """
        journal, now = self.desk.journal, self.desk.clock()
        with self._lock:
            with journal.changed:
                if self._run != self._current_run():
                    self._forget()
                recent = journal.changes(self._version)
                changes = journal.changes(after if run == self._run else 0)
                totals = {
                    "events": journal.event_count,
                    "requests": journal.request_count(),
                    "batches": journal.request_count("events"),
                    "authorizations": journal.request_count("authorize"),
                }
                tokens = self._tokens()
                switches = asdict(self.desk.switches)
            # Without the journal's lock: no request of a client waits for a page.
            self._catch_up(recent)
            chosen, skipped, more = _window(changes)
            return {
                "run": self._run,
                "cursor": chosen[-1].version if chosen else after if run == self._run else 0,
                "more": more,
                "skipped": skipped,
                "now": now,
                "base_path": BASE_PATH,
                # The key of everybody's emulators; any other is not shown.
                "default_key": CLIENT_KEY if self.desk.api.kind_of(CLIENT_KEY) == OURS else None,
                "totals": {**totals, "failures": self._failures},
                "tokens": tokens,
                "switches": switches,
                "requests": [self._row(change) for change in chosen],
            }

    def event(self, run: str, serial: int, index: int) -> str | None:
        """Return an event as indented JSON; None if the emulator does not keep it."""
        with self._lock, self.desk.journal.changed:
            record = self.desk.journal.request(serial) if run == self._current_run() else None
        if record is None or record.events is None or not 0 <= index < len(record.events):
            return None
        return json.dumps(record.events[index], indent=2, ensure_ascii=False)

    def curl(self, run: str, serial: int) -> str | None:
        """Return commands that send a request again; None if the emulator does not keep it.

        Raises:
            ValueError: its body is no text.
        """
        with self._lock, self.desk.journal.changed:
            record = self.desk.journal.request(serial) if run == self._current_run() else None
        return None if record is None else command(record)

    def note_trigger(self, batch: str, trigger: str) -> None:
        """Note the trigger of a batch, as its client names it.

        batch: the first characters of its Idempotency-Key.
        """
        with self._lock:
            self._told[batch] = trigger
            if len(self._told) > MAX_REQUESTS:
                self._told.popitem(last=False)

    def switch(self, switches: Switches) -> None:
        """Apply these switches, from the next request on."""
        with self.desk.journal.changed:
            self.desk.switches = switches

    def revoke_tokens(self) -> None:
        """Revoke every token issued so far: requests with them get a 401."""
        with self.desk.journal.changed:
            self.desk.api.revoke_tokens()

    def _current_run(self) -> str:
        return f"{self._id}-{self.desk.journal.clearings}"

    def _forget(self) -> None:
        self._run = self._current_run()
        self._version = 0
        self._failures = 0
        self._guesser = Guesser()
        # The guesses about the newest batches, by serial.
        self._guesses: OrderedDict[int, Guess] = OrderedDict()

    def _catch_up(self, changes: list[Change]) -> None:
        """Update guesses and counters with the changes since the last poll of a page."""
        if changes:
            self._version = changes[-1].version
        # By arrival, so that a batch comes before its retries and parts.
        for change in sorted(changes, key=lambda each: each.serial):
            record = change.record
            if record.settled and _failed(record):
                self._failures += 1
            if record.route == "events" and record.events:
                self._guess(change.serial, record, record.events)

    def _guess(self, serial: int, record: RecordedRequest, events: list[Json]) -> None:
        key = record.headers.get("idempotency-key")
        batch = Batch(record.number, record.received_at, events, len(record.body), key)
        if serial not in self._guesses:
            guess = self._guesser.guess(batch)
            told = self._told.get((key or "")[:NAME])
            if told is not None and guess.trigger not in (Trigger.RETRY, Trigger.PART):
                guess = Guess(told, SAID)
            self._guesses[serial] = guess
            if len(self._guesses) > MAX_REQUESTS:
                self._guesses.popitem(last=False)
        if record.settled and record.status in REJECTED:
            self._guesser.rejected(batch)

    def _tokens(self) -> list[dict[str, object]]:
        return [
            {
                "number": token.number,
                "kind": self.desk.api.kind_of(token.key),
                "issued_at": token.issued_at,
                "expires_at": token.expires_at,
                "revoked": token.revoked,
            }
            for token in self.desk.api.newest_tokens(MAX_TOKENS)
        ]

    def _row(self, change: Change) -> dict[str, object]:
        record, api = change.record, self.desk.api
        guess = self._guesses.get(change.serial)
        token = api.token_in(record.headers)
        key = api.kind_of(record.headers.get("x-api-key"))
        began, events = record.responded_at, record.events
        return {
            "serial": change.serial,
            "number": record.number,
            # For any other route, `record.route` is the path.
            "route": record.route if record.route in ("authorize", "events", "event") else "other",
            "method": record.method,
            "path": record.path.partition("?")[0][:TEXT],
            "at": record.received_at,
            "seconds": None if began is None else max(0.0, began - record.received_at),
            "failed": record.settled and _failed(record),
            "status": record.status,
            "ending": _ending(record),
            "problem": record.problem and record.problem[:PREVIEW],
            "fault": record.fault and repr(record.fault)[:PREVIEW],
            "bytes": len(record.body),
            "key": key if record.route == "authorize" else None,
            "token": None if token is None else token.number,
            "trigger": None if guess is None else str(guess.trigger),
            "why": None if guess is None else guess.why,
            "said": guess is not None and guess.why == SAID,
            "count": None if events is None else len(events),
            "accepted": record.accepted,
            "events": [_summary(event) for event in (events or [])[:MAX_EVENTS]],
        }


def _window(changes: list[Change]) -> tuple[list[Change], int, bool]:
    """Return the changes to send now, the number that are too old, and whether more follow."""
    start, room = len(changes), MAX_EVENTS
    while start and len(changes) - start < MAX_REQUESTS:
        room -= len(changes[start - 1].record.events or ())
        if room < 0 and start < len(changes):
            break
        start -= 1
    end, count = start, 0
    while end < len(changes) and count < EVENTS_AT_ONCE:
        count += len(changes[end].record.events or ())
        end += 1
    return changes[start:end], start, end < len(changes)


def _failed(record: RecordedRequest) -> bool:
    return record.status is None or not 200 <= record.status < 300


def _ending(record: RecordedRequest) -> str | None:
    """Return how a request ended without a status; None if it has one."""
    if not record.settled:
        return "pending"
    if record.status is not None:
        return None
    fault = record.fault
    if fault is not None and fault.reset is not None:
        return "reset"
    if fault is not None and fault.raw is not None:
        return "raw bytes"
    if fault is not None and fault.close:
        return "closed"
    return "aborted"


def _summary(event: Json) -> list[str | None]:
    """Return the type, customer, brand and beginning of the JSON of an event."""
    fields: list[Json] = [None, None, None]
    if isinstance(event, dict):
        fields = [event.get(name) for name in ("type", "customer_id", "brand_id")]
    try:
        preview = json.dumps(event, ensure_ascii=False, separators=(",", ":"))[:PREVIEW]
    except RecursionError:
        preview = "(nested too deeply to be shown)"
    return [*(None if field is None else str(field)[:TEXT] for field in fields), preview]
