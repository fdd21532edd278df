"""The emulator's public class."""

import math
import ssl
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Self

from masivo._guesses import Advised
from masivo._protocol.wire.serving import BASE_PATH, METHODS
from masivo.emulator.api import StorefrontApi
from masivo.emulator.exchange import Desk, Exchange
from masivo.emulator.faults import Fault
from masivo.emulator.inspector import Inspector, Visit, is_visit
from masivo.emulator.loopback import check_loopback
from masivo.emulator.records import RecordedRequest
from masivo.emulator.server import Server
from masivo.emulator.switches import NO_SWITCHES


class Emulator(Advised):
    """A local HTTP server that behaves as the Masivo API does, and misbehaves on demand.

    `with Emulator() as emulator:` starts and stops it. Everything is thread-safe.

    Args:
        host: a loopback address, or `localhost`.
        port: 0 picks a free one, which is kept when the emulator is stopped and started again.
        client_key: the CLIENT key that it accepts; a random UUID by default.
        server_key: the SERVER key that it knows; a random UUID by default.
        token_ttl: lifetime of a token, in seconds.
        daily_quota: requests per key and day, where a day is 86,400 s from the key's first
            request; None for no limit.
        clock: returns the emulator's time in seconds since the epoch.
        ssl_context: a server-side context makes it speak https.
        opaque_tokens: issue random tokens without claims instead of JWTs.
        events_path: the bulk route, below the base path.
        events_key: the name of the array of events in a batch's body; None if the body is the
            bare array.
        reject: called with each event that is otherwise valid; returns the reason to reject it, or
            None.

    Raises:
        ValueError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        client_key: str | None = None,
        server_key: str | None = None,
        token_ttl: float = 3600.0,
        daily_quota: int | None = None,
        clock: Callable[[], float] = time.time,
        ssl_context: ssl.SSLContext | None = None,
        opaque_tokens: bool = False,
        events_path: str = "/behavior/events/bulk",
        events_key: str | None = "events",
        reject: Callable[[dict[str, Any]], str | None] | None = None,
    ) -> None:
        check_loopback(host)
        if not 0 <= port <= 65_535:
            raise ValueError("port must be from 0 to 65535")
        if not (token_ttl > 0 and math.isfinite(token_ttl)):
            raise ValueError("token_ttl must be a positive number of seconds")
        if daily_quota is not None and daily_quota < 0:
            raise ValueError("daily_quota must not be negative")
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._server: Server | None = None
        self._client_key = str(uuid.uuid4()) if client_key is None else client_key
        self._server_key = str(uuid.uuid4()) if server_key is None else server_key
        if not self._client_key or not self._server_key or self._client_key == self._server_key:
            raise ValueError("client_key and server_key must differ, and not be empty")
        api = StorefrontApi(
            client_key=self._client_key,
            server_key=self._server_key,
            token_ttl=token_ttl,
            daily_quota=daily_quota,
            opaque_tokens=opaque_tokens,
            events_path=events_path,
            events_key=events_key,
            reject=reject,
        )
        self._desk = Desk(api, clock)
        self._journal = self._desk.journal
        self._inspector = Inspector(self._desk)

    # Life cycle

    def start(self) -> Self:
        """Bind the port and serve requests; do nothing if it is running.

        Raises:
            OSError: the address cannot be bound, for example because the port is taken.
        """
        with self._journal.changed:
            if self._server is None:
                self._server = Server(self._host, self._port, self._take_request, self._ssl_context)
                self._port = self._server.port
        return self

    def stop(self) -> None:
        """Close every connection and end every thread, pending delays included.

        Do nothing if it is not running. The recorded requests and events stay.
        """
        with self._journal.changed:
            server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL for a client.

        Raises:
            RuntimeError: it has not been started, so the port is not known.
        """
        if not self._port:
            raise RuntimeError("the emulator has no address before it is started")
        scheme = "http" if self._ssl_context is None else "https"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self._port}{BASE_PATH}"

    @property
    def inspector_url(self) -> str:
        """The address of the inspector, a page that shows the requests live.

        Raises RuntimeError before the port is known.
        """
        return self.url.removesuffix(BASE_PATH) + "/"

    @property
    def client_key(self) -> str:
        """The CLIENT key, which an SDK uses."""
        return self._client_key

    @property
    def server_key(self) -> str:
        """The SERVER key: refused when a client SDK authorizes with it."""
        return self._server_key

    # Records

    @property
    def events(self) -> list[dict[str, Any]]:
        """The accepted events, in order; a copy of the list."""
        return self._journal.events()

    @property
    def event_count(self) -> int:
        """The number of accepted events; cheap."""
        return self._journal.event_count

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests whose body has been read, in order of arrival; a copy of the list."""
        return self._journal.requests()

    @property
    def authorizations(self) -> list[RecordedRequest]:
        """The requests to the authorization route."""
        return self._journal.requests("authorize")

    @property
    def batches(self) -> list[RecordedRequest]:
        """The requests to the bulk route."""
        return self._journal.requests("events")

    def clear(self) -> None:
        """Forget requests and events; the next request has number 1. Faults and tokens stay."""
        self._journal.clear()

    def wait_for(self, predicate: Callable[[Self], object], timeout: float = 5.0) -> None:
        """Wait until the predicate is true, checking it after every change.

        Args:
            predicate: called with the emulator while its lock is held.
            timeout: seconds.

        Raises:
            TimeoutError: it is not true in time; the message shows the last request.
        """
        if not self._journal.wait_for(lambda: predicate(self), timeout):
            requests = self.requests
            last = f"; the last: {requests[-1]!r}" if requests else ""
            raise TimeoutError(
                f"not true within {timeout:g} s, after {len(requests)} requests and "
                f"{self.event_count} accepted events{last}"
            )

    # Faults

    def hear(self, activity: object) -> None:
        """Note the activity of a client in this process: `Client(on_activity=emulator.hear)`.

        The inspector then shows the trigger of each of the client's batches as the client names it,
        and does not guess.
        """
        batch, trigger = getattr(activity, "batch", None), getattr(activity, "trigger", None)
        if isinstance(batch, str) and isinstance(trigger, str):
            self._inspector.note_trigger(batch, trigger)

    def revoke_tokens(self) -> None:
        """Revoke every token issued so far: requests with these tokens get a 401."""
        with self._journal.changed:
            self._desk.api.revoke_tokens()

    def fail(
        self,
        fault: Fault | int,
        *,
        route: str | None = None,
        number: int | Iterable[int] | None = None,
        times: int | None = 1,
    ) -> None:
        """Queue a fault.

        A fault for certain requests (`number`) takes precedence; other faults apply in the order of
        these calls.

        Args:
            fault: the fault to apply; a status alone is short for a Fault with it: `fail(503)` is
                `fail(Fault(status=503))`.
            route: "authorize", "events" (of batches), "event" (of single events), or a path from
                "/" on; None for any.
            number: apply to the request with this number, or to those with these numbers; `times`
                is ignored then. Requests are counted from 1, since the start or `clear`, on the
                route if one is given, else over all routes.
            times: apply to this many requests; None for all, until `heal`.

        Raises:
            ValueError: a number, or `times`, is below 1; there is no such route.
            TypeError: `fault` is neither a Fault nor a status.
        """
        if isinstance(fault, int) and not isinstance(fault, bool):
            fault = Fault(status=fault)
        elif not isinstance(fault, Fault):
            raise TypeError(
                f"a fault is a Fault or the number of a status, not {fault!r}: such as "
                "fail(503), or fail(masivo.emulator.Fault(close=True))"
            )
        if route is not None and route.startswith("/"):
            route = self._desk.api.route(route)
        elif route is not None and route not in METHODS:
            raise ValueError(
                f"there is no route {route!r}: use 'authorize', 'events' (batches), 'event', or a "
                "path that begins with '/'"
            )
        with self._journal.changed:
            self._desk.plan.add(fault, route=route, number=number, times=times)

    def heal(self) -> None:
        """Remove every fault, including `on_request` and the inspector's switches."""
        with self._journal.changed:
            self._desk.plan.clear()
            self._desk.switches = NO_SWITCHES
            self._desk.on_request = None

    @property
    def on_request(self) -> Callable[[RecordedRequest], Fault | None] | None:
        """The function that chooses a fault for each request without a queued one; None by default.

        It is called in the connection's thread, with no lock held, after the request has been read
        (even if the fault that it returns has ``reset="before_reading"``). An exception that it
        raises ends the connection and goes to `threading.excepthook`.
        """
        return self._desk.on_request

    @on_request.setter
    def on_request(self, decide: Callable[[RecordedRequest], Fault | None] | None) -> None:
        self._desk.on_request = decide

    @property
    def on_response(self) -> Callable[[RecordedRequest], None] | None:
        """The function called with each request when its response begins, or is known not to come.

        None by default. It is called in the connection's thread, with no lock held, before any byte
        is sent.
        """
        return self._desk.on_response

    @on_response.setter
    def on_response(self, report: Callable[[RecordedRequest], None] | None) -> None:
        self._desk.on_response = report

    @property
    def reject(self) -> Callable[[dict[str, Any]], str | None] | None:
        """The function called with each otherwise valid event: the reason to reject it, or None.

        It is called with the emulator's lock held.
        """
        return self._desk.api.reject

    @reject.setter
    def reject(self, reject: Callable[[dict[str, Any]], str | None] | None) -> None:
        self._desk.api.reject = reject

    def __repr__(self) -> str:
        state = "running" if self._server else "stopped"
        address = f" {self.url}" if self._port else ""
        return f"<Emulator{address} {state}, {self.event_count} events accepted>"

    def _take_request(self, method: str, target: str, headers: dict[str, str]) -> Exchange | Visit:
        if is_visit(method, target):
            return Visit(self._inspector, method, target, headers)
        return Exchange(self._desk, method, target, headers)
