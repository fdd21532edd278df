"""One run of a scenario with a driver, as its script sees it.

A script calls the methods of a ``Run`` and of its clients one after another. After each step the
run waits until the driver is at rest: everything that is due at this time was done.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from .adapter import LIMIT, start_thread
from .client import Client, NonconformityError, describe
from .clock import TICK
from .server import CLIENT_KEY, HELD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from typing import Unpack

    from masivo import MasivoError
    from masivo.emulator import Fault

    from .adapter import Adapter, ClientSettings
    from .client import Event
    from .disk import MemoryDisk, MemoryStore
    from .server import Route, Scripted, Server, WireRequest
    from .watch import Watch

__all__ = ["Run"]


class Run:
    """One run of a scenario, as its script sees it.

    Attributes:
        server: the server, with every request.
        disk: the stores of clients that have one.
        warnings: the log lines of the logger ``masivo`` at level WARNING or above.
        logged: the log lines of all loggers, each behind the logger's name and the level.
        parallel: True if several requests can be out at once.
        background: True if the driver works while a request is out.
        limit: how long anything may take, in real seconds.
    """

    def __init__(
        self, adapter: Adapter, watch: Watch, server: Server, limit: float = LIMIT
    ) -> None:
        self.server = server
        self.disk: MemoryDisk = server.disk
        self.limit = limit
        self.warnings: list[str] = []
        self.logged: list[tuple[str, str]] = []
        self.parallel: bool = adapter.parallel
        self.background: bool = adapter.background
        self._adapter = adapter
        self._clock = adapter.clock
        self._watch = watch
        self._clients: list[Client] = []
        self._journal: list[str] = []
        self._pump: Future[None] | None = None

    # ── Calls ────────────────────────────────────────────────────────────────────────────────

    def client(self, api_key: str = CLIENT_KEY, **settings: Unpack[ClientSettings]) -> Client:
        """Make a client with these settings, and the constructor's defaults."""
        return self._client(api_key, settings, None)

    def client_with_store(
        self, api_key: str = CLIENT_KEY, **settings: Unpack[ClientSettings]
    ) -> Client:
        """Make a client whose events are kept on the disk."""
        return self._client(api_key, settings, self.disk.store(api_key))

    def _client(self, api_key: str, settings: ClientSettings, store: MemoryStore | None) -> Client:
        client = Client(self, f"client {len(self._clients) + 1}", self._clock, store)
        settings.setdefault("on_error", client.note_failure)
        own, lent = (store, None) if self._adapter.storage else (None, store)
        with self._watch.gives(lent):
            client.handle = self._adapter.make(api_key, self.server.emulator.url, settings, own)
        self._clients.append(client)
        self.rest()
        return client

    def crash(self, client: Client) -> None:
        """End a client as a crash of its process does: what is on the disk stays as it is.

        If a request of the client is held, release it afterwards.
        """
        if client.store is not None:
            client.store.crash()
        client.destroy()

    def advance(self, seconds: float) -> None:
        """Let time pass: the driver is woken whenever an engine, or a wait, asks for it."""
        self.log(f"advance {seconds:g} s")
        self._advance(self.now + seconds)

    def log_everything(self) -> None:
        """Set the level of all loggers that have none of their own to DEBUG."""
        logging.getLogger().setLevel(logging.DEBUG)

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: the wall clock and the server's clock advance, the engine's clock
        does not."""
        self.log(f"suspend {seconds:g} s")
        self._clock.suspend(seconds)

    def _advance(self, until: float) -> None:
        while True:
            self.rest()
            at = min(self._watch.next_wake() or until, self._next_wait(), until)
            for request in self.server.held:
                asked = request.asked
                if asked is not None and not asked.returned:
                    self.check(
                        at < asked.at + asked.request.timeout,
                        "the script must not pass the timeout of a request that is held",
                    )
            self._move(at)
            if at >= until:
                break
        self.rest()

    def _next_wait(self) -> float:
        return max(self._clock.next_wait(), self.now + TICK)

    def _move(self, to: float) -> None:
        self._clock.move(to)
        self._adapter.advanced()

    @property
    def now(self) -> float:
        """Seconds since the scenario began."""
        return self._clock.monotonic()

    # ── Server responses ─────────────────────────────────────────────────────────────────────

    def respond(self, *responses: Scripted, route: Route = "events") -> None:
        """Give these responses to the next requests of a route; None is the API's own."""
        self.server.script(route, responses)

    def always(self, response: Scripted, *, route: Route = "events") -> None:
        """Give this response to all other requests of a route, from now on."""
        self.server.always(route, response)

    def hold(self, count: int = 1, *, route: Route = "events") -> None:
        """Hold the next requests of a route until they are released."""
        self.respond(*[HELD] * count, route=route)

    def release(self, response: Fault | None = None, *, nth: int = 0) -> None:
        """Respond to a held request: the oldest, or a later one."""
        held = self.server.held
        self.check(len(held) > nth, "no such request is held")
        self.log(f"release {held[nth].numbers}")
        self.server.release(held[nth], response)
        self.rest()

    def time_out(self) -> None:
        """Let the timeout of the one request that is held run out."""
        (request,) = self.server.held
        asked = request.asked
        if asked is not None:
            self._move(asked.at + asked.request.timeout)
            self.until(lambda: asked.returned, "the request outlasts its timeout")
        self.rest()

    # ── What must hold ───────────────────────────────────────────────────────────────────────

    def check(self, condition: object, what: str) -> None:
        """Fail the scenario unless the condition is true."""
        if not condition:
            raise NonconformityError(what)

    def equal(self, found: object, wanted: object, what: str) -> None:
        """Fail the scenario unless both are equal."""
        self.log(f"{what}: {found!r}")
        self.check(found == wanted, f"{what}: expected {wanted!r}, found {found!r}")

    def sent(self, *batches: Sequence[int]) -> None:
        """Check that the requests with events so far carried exactly these, by their numbers."""
        found = [list(each.numbers) for each in self.server.batches]
        self.equal(found, [list(each) for each in batches], "batches")

    def authorizations(self, count: int) -> None:
        """Check that this many authorizations were sent."""
        self.equal(len(self.server.authorizations), count, "authorizations")

    def batch(self, nth: int) -> WireRequest:
        """Return a request with events; the first is number 0."""
        self.check(len(self.server.batches) > nth, f"there is no batch {nth}")
        return self.server.batches[nth]

    def pending(self, events: Sequence[Event]) -> None:
        """Check that none of these events has its outcome."""
        self.equal([each.number for each in events if each.done], [], "events with an outcome")

    def delivered(self, events: Sequence[Event], *, status: int = 200) -> None:
        """Check that all of these events were delivered, with this status."""
        for event in events:
            result = event.result()
            self.equal((result.success, result.status), (True, status), f"event {event.number}")

    def failed(
        self, events: Sequence[Event], kind: type[MasivoError], *, status: int | None = None
    ) -> None:
        """Check that each of these events failed with exactly this class of error and this
        status."""
        for event in events:
            error = event.error()
            self.equal((type(error), error.status), (kind, status), f"event {event.number}")
            self.log(f"event {event.number}: {describe(error)}")

    # ── Rest ─────────────────────────────────────────────────────────────────────────────────

    def log(self, line: str) -> None:
        """Add a line to the transcript."""
        self._journal.append(line)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition that the driver must make true at this time."""
        with self._clock.changed:
            if not self._clock.changed.wait_for(lambda: bool(condition()), self.limit):
                raise NonconformityError(f"{what}: {self._unrest() or 'the driver is at rest'}")

    def rest(self) -> None:
        """Wait until the driver is at rest, or (pumped) stuck in a request that is held."""
        if self.background:
            self.until(lambda: self._unrest() is None, "the driver does not come to rest")
        else:
            while self._unrest() is not None and not self._stuck():
                pass
        for fault in self._watch.faults:
            raise NonconformityError(fault)

    def _unrest(self) -> str | None:
        return None if self._watch.faults else self._watch.unrest(parallel=self.parallel)

    def _stuck(self) -> bool:
        """Pump, unless a pump still runs; return True if it waits for a held response."""
        polls = len(self._watch.poll_times)
        if self._pump is None or self._pump.done():
            self._pump, _ = start_thread(self._clock, self._adapter.pump)
        pump = self._pump
        one_by_one = not self.parallel
        self.until(
            lambda: pump.done() or (one_by_one and self._watch.holds), "the pump does not end"
        )
        if not pump.done():
            return True
        pump.result()
        if len(self._watch.poll_times) == polls:
            # The driver pumps by itself, from inside a call that is under way.
            self.until(
                lambda: (
                    len(self._watch.poll_times) > polls
                    or self._unrest() is None
                    or (one_by_one and self._watch.holds)
                ),
                "no thread polls",
            )
            return one_by_one and self._watch.holds
        return False

    def finish(self) -> tuple[str, ...]:
        """End the scenario: check that every event has its outcome, and that every scripted
        response was used.

        Returns:
            The transcript.
        """
        self.check(not self.server.unused, f"{self.server.unused} responses were not used")
        self.clean_up()
        for client in self._clients:
            client.finish()
        self._nothing_is_lost()
        self._no_secret_is_logged()
        for fault in self._watch.faults:
            raise NonconformityError(fault)
        requests = (line for each in self.server.requests for line in each.lines)
        warnings = (f"warning: {line}" for line in self.warnings)
        return (*self._journal, *warnings, *requests)

    def _nothing_is_lost(self) -> None:
        """Check that each stored event was accepted by the API, or is still on the disk."""
        there = {*self.disk.numbers, *self.disk.rejected_numbers}
        there.update(each["n"] for each in self.server.emulator.events)
        for client in self._clients:
            if client.store is not None:
                lost = [
                    each.number
                    for each in client.events
                    if each.accepted and each.number not in there
                ]
                self.equal(lost, [], "events that are neither accepted nor on the disk")

    def _no_secret_is_logged(self) -> None:
        """Check that no log line holds an API key or a token."""
        sent = [each.record.headers for each in self.server.requests]
        keys = {headers.get("x-api-key", "") for headers in sent}
        tokens = {headers.get("authorization", "")[7:] for headers in sent}
        for secrets, what in (keys, "an API key"), (tokens, "a token"):
            for secret in secrets - {""}:
                for place, line in self.logged:
                    self.check(secret not in line, f"a log line of {place} holds {what}")

    def clean_up(self) -> None:
        """Release everything at the end of the scenario."""
        for client in self._clients:
            client.handle.destroy()
        self.server.let_go()
        self.rest()

    def leave(self) -> None:
        """Release everything after the scenario has failed."""
        for client in self._clients:
            with suppress(Exception):
                client.handle.destroy()
        self.server.let_go()
