"""What the inspector shows, as JSON: requests with their events, tokens, counters.

A page polls with a cursor and gets what has changed since. Nothing waits here, and no page is
remembered: what a page missed, asleep or slow, it gets when it asks. Beyond what the emulator
keeps anyway, there is the state of the guesses, which is bounded.
"""

import json
import secrets
import threading
from collections import OrderedDict
from dataclasses import asdict
from typing import Final

from masivo.emulator.answers import Json
from masivo.emulator.api import BASE_PATH
from masivo.emulator.exchange import Desk
from masivo.emulator.inspector.trigger import REFUSALS, Batch, Guess, Guesser
from masivo.emulator.records import Change, RecordedRequest
from masivo.emulator.switches import Switches

# The newest events and requests that a page is told of; it keeps no more itself.
MAX_EVENTS: Final = 20_000
MAX_REQUESTS: Final = 2_000
# After so many events, an answer of the feed ends with the request at hand.
EVENTS_AT_ONCE: Final = 2_000
# Characters of an event's JSON that go into the feed, for the search in the page.
PREVIEW: Final = 1_000
# Characters of each other text.
TEXT: Final = 200
# The newest tokens that are told of.
MAX_TOKENS: Final = 20


class Inspector:
    """The state of the page's other end. Thread-safe."""

    def __init__(self, desk: Desk) -> None:
        self.desk: Desk = desk
        self._id = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._forget()

    def feed(self, run: str, after: int) -> dict[str, object]:
        """Return what a page needs to come up to date.

        run, after: `run` and `cursor` of the page's last answer; others than this run's, or 0,
        ask for everything from the start.
        """
        journal, now = self.desk.journal, self.desk.clock()
        with self._lock:
            with journal.changed:
                if self._run != self._current_run():
                    self._forget()
                news = journal.changes(self._version)
                changes = journal.changes(after if run == self._run else 0)
                totals = {
                    "events": journal.event_count,
                    "requests": journal.request_count(),
                    "batches": journal.request_count("events"),
                    "authorizations": journal.request_count("authorize"),
                }
                tokens = self._tokens()
                switches = asdict(self.desk.switches)
            # Without the journal's lock: no request waits for what a page asks.
            self._catch_up(news)
            chosen, skipped, more = _window(changes)
            return {
                "run": self._run,
                "cursor": chosen[-1].version if chosen else after if run == self._run else 0,
                "more": more,
                "skipped": skipped,
                "now": now,
                "base_path": BASE_PATH,
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

    def switch(self, switches: Switches) -> None:
        """Let requests suffer what is switched on, from the next one on."""
        with self.desk.journal.changed:
            self.desk.switches = switches

    def revoke_tokens(self) -> None:
        """Make every token issued so far answer 401."""
        with self.desk.journal.changed:
            self.desk.api.revoke_tokens()

    def _current_run(self) -> str:
        return f"{self._id}-{self.desk.journal.clearings}"

    def _forget(self) -> None:
        self._run = self._current_run()
        self._version = 0
        self._failures = 0
        self._guesser = Guesser()
        # What is guessed of the newest batches, by serial.
        self._guesses: OrderedDict[int, Guess] = OrderedDict()

    def _catch_up(self, changes: list[Change]) -> None:
        """Guess and count for what has changed since the last time that a page asked."""
        if changes:
            self._version = changes[-1].version
        # By arrival, so that a batch comes before its repeats and parts.
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
            self._guesses[serial] = self._guesser.guess(batch)
            if len(self._guesses) > MAX_REQUESTS:
                self._guesses.popitem(last=False)
        if record.settled and record.status in REFUSALS:
            self._guesser.refused(batch)

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
        answered, events = record.answered_at, record.events
        return {
            "serial": change.serial,
            "number": record.number,
            # Another route is the path itself.
            "route": record.route if record.route in ("authorize", "events", "event") else "other",
            "method": record.method,
            "path": record.path.partition("?")[0][:TEXT],
            "at": record.received_at,
            "seconds": None if answered is None else max(0.0, answered - record.received_at),
            "settled": record.settled,
            "failed": record.settled and _failed(record),
            "status": record.status,
            "ending": _ending(record),
            "problem": record.problem and record.problem[:PREVIEW],
            "fault": record.fault and repr(record.fault)[:PREVIEW],
            "bytes": len(record.body),
            "key": key if record.route == "authorize" else None,
            "token": None if token is None else token.number,
            "trigger": None if guess is None else guess.trigger.value,
            "why": None if guess is None else guess.why,
            "count": None if events is None else len(events),
            "accepted": record.accepted,
            "events": [_summary(event) for event in (events or [])[:MAX_EVENTS]],
        }


def _window(changes: list[Change]) -> tuple[list[Change], int, bool]:
    """Return the changes to tell of now, how many were too old, and whether more follow."""
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
    """Say how a request ended that was not answered with a status; None where one was."""
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
    return "broken off"


def _summary(event: Json) -> list[str | None]:
    """Return type, customer, brand and the beginning of the JSON of an event."""
    fields: list[Json] = [None, None, None]
    if isinstance(event, dict):
        fields = [event.get(name) for name in ("type", "customer_id", "brand_id")]
    try:
        preview = json.dumps(event, ensure_ascii=False, separators=(",", ":"))[:PREVIEW]
    except RecursionError:
        preview = "(nested too deeply to be shown)"
    return [*(None if field is None else str(field)[:TEXT] for field in fields), preview]
