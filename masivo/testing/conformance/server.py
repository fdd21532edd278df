"""The server that a scenario talks to: the emulator, with responses that the scenario writes.

Every request is compared, byte for byte, with the core's, and then added to the transcript.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias, cast
from urllib.parse import urlsplit

from masivo.emulator import Emulator, Fault

from .adapter import LIMIT

if TYPE_CHECKING:
    from masivo.emulator import RecordedRequest

    from .clock import VirtualClock
    from .disk import MemoryDisk
    from .watch import Asked, Watch

__all__ = ["CLIENT_KEY", "HELD", "SERVER_KEY", "Held", "Route", "Scripted", "Server", "WireRequest"]

CLIENT_KEY: Final = "conformance-client-key"
SERVER_KEY: Final = "conformance-server-key"

_FRAMING: Final = frozenset(
    {"host", "connection", "accept-encoding", "content-length", "transfer-encoding"}
)
"""Headers that the transport sets, not the core."""


class Held(Enum):
    """A response that waits until the scenario releases it."""

    HELD = "held"


HELD: Final = Held.HELD

Scripted: TypeAlias = "Fault | Held | None"
"""A response that a scenario has written: a fault, one that is held, or (None) the API's own."""

Route: TypeAlias = Literal["authorize", "events"]


@dataclass(eq=False, slots=True)
class WireRequest:
    """One request as it arrived, in the scenario's terms."""

    serial: int
    """Its number among the requests that the core asked for."""
    at: float
    """The time at which the core asked for it, in virtual seconds."""
    route: str
    """``authorize`` or ``events``."""
    numbers: tuple[int, ...]
    """The ``n`` of each event that it carries, in order."""
    token: int
    """The number of its token, counted by first use, from 1; 0 for none."""
    key: int
    """The number of its idempotency key, counted by first use, from 1; 0 for none."""
    noted: bool
    """True if its batch was noted on the disk when it arrived."""
    record: RecordedRequest
    """The request."""
    asked: Asked | None
    """The core's request; None if the core did not ask for one like this."""
    lines: tuple[str, ...]
    """The transcript of it."""
    release: threading.Event
    """Set when it is no longer held."""
    response: Fault | None = None
    """The response that it then gets; None for the API's own."""

    @property
    def events(self) -> list[dict[str, object]]:
        """The events that it carries."""
        return cast("list[dict[str, object]]", self.record.events or [])


class Server:
    """An emulator in virtual time.

    Args:
        clock: the scenario's time; the emulator's wall clock too.
        watch: knows the core's requests.
        disk: the disk of the clients.
    """

    def __init__(self, clock: VirtualClock, watch: Watch, disk: MemoryDisk) -> None:
        self.emulator: Emulator = Emulator(
            client_key=CLIENT_KEY, server_key=SERVER_KEY, clock=clock.time
        )
        self.emulator.on_request = self._decide
        self.disk: MemoryDisk = disk
        self._clock = clock
        self._watch = watch
        self._requests: list[WireRequest] = []
        self._scripts: dict[str, deque[Scripted]] = {"authorize": deque(), "events": deque()}
        self._always: dict[str, Scripted] = {"authorize": None, "events": None}
        self._over = False

    def __enter__(self) -> Self:
        self.emulator.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.emulator.stop()

    # ── The script ───────────────────────────────────────────────────────────────────────────

    def script(self, route: Route, responses: tuple[Scripted, ...]) -> None:
        """Give these responses to the next requests of a route, in this order."""
        with self._clock.changed:
            self._scripts[route].extend(responses)

    def always(self, route: Route, response: Scripted) -> None:
        """Give this response to every request of a route for which the script has none."""
        with self._clock.changed:
            self._always[route] = response

    @property
    def unused(self) -> int:
        """The number of scripted responses that no request has used."""
        return sum(len(script) for script in self._scripts.values())

    @property
    def held(self) -> list[WireRequest]:
        """The requests that wait to be released, in the order in which they were asked for."""
        return [each for each in self.requests if not each.release.is_set()]

    def release(self, request: WireRequest, response: Fault | None) -> None:
        """Respond to a request that was held."""
        with self._clock.changed:
            request.response = response
            if request.asked is not None:
                request.asked.held = False
            request.release.set()

    def let_go(self) -> None:
        """Respond to every held request, and hold none from now on: the scenario has ended."""
        with self._clock.changed:
            self._over = True
            for request in self.held:
                self.release(request, None)

    # ── Requests ─────────────────────────────────────────────────────────────────────────────

    @property
    def requests(self) -> list[WireRequest]:
        """Every request so far, in the order in which the core asked for them."""
        with self._clock.changed:
            return sorted(self._requests, key=lambda each: each.serial)

    @property
    def batches(self) -> list[WireRequest]:
        """The requests with events."""
        return [each for each in self.requests if each.route == "events"]

    @property
    def authorizations(self) -> list[WireRequest]:
        """The authorizations."""
        return [each for each in self.requests if each.route == "authorize"]

    def _decide(self, record: RecordedRequest) -> Fault | None:
        """Note a request and choose its response; runs in the connection's thread."""
        with self._clock.changed:
            request = self._arrived(record)
            self._requests.append(request)
            script = self._scripts.get(record.route)
            response = script.popleft() if script else self._always.get(record.route)
            held = response is HELD and not self._over
            if not held:
                request.release.set()
                request.response = response if isinstance(response, Fault) else None
            if request.asked is not None:
                request.asked.held = held
                request.asked.arrived = True
            self._clock.changed.notify_all()
        request.release.wait(LIMIT * 3)
        return request.response

    def _arrived(self, record: RecordedRequest) -> WireRequest:
        asked = next((each for each in self._watch.out if _is_it(each, record)), None)
        if asked is None:
            self._watch.fault(
                f"a request arrived that the core did not ask for: {record!r}"
                + "".join(_difference(each, record) for each in self._watch.out)
            )
        else:
            self._compare(record, asked)
        at = self._clock.monotonic() if asked is None else asked.at
        token, key = (0, 0) if asked is None else (asked.token, asked.key)
        return WireRequest(
            serial=len(self._watch.asked) + 1 if asked is None else asked.serial,
            at=at,
            route=record.route,
            numbers=tuple(_number(event) for event in record.events or ()),
            token=token,
            key=key,
            noted=self.disk.is_noted(record.headers.get("idempotency-key")),
            record=record,
            asked=asked,
            lines=_lines(record, at, token, key),
            release=threading.Event(),
        )

    def _compare(self, record: RecordedRequest, asked: Asked) -> None:
        """Compare a request's headers with the core's."""
        wanted = dict(asked.request.headers)
        for name in sorted(wanted.keys() | record.headers.keys()):
            if name in _FRAMING and name not in wanted:
                continue
            if wanted.get(name) != record.headers.get(name):
                self._watch.fault(f"request {asked.serial}: the header {name} is not as asked for")


_IDENTITY: Final = "authorization", "idempotency-key", "x-api-key"


def _is_it(asked: Asked, record: RecordedRequest) -> bool:
    """Return whether a request is the one that was asked for; other headers are compared later."""
    request = asked.request
    headers = dict(request.headers)
    return (
        not asked.arrived
        and (record.method, record.path, record.body)
        == (request.method, urlsplit(request.url).path, request.body)
        and all(headers.get(name) == record.headers.get(name) for name in _IDENTITY)
    )


def _difference(asked: Asked, record: RecordedRequest) -> str:
    """Say why a request is not one that is out."""
    request = asked.request
    if (record.method, record.path) != (request.method, urlsplit(request.url).path):
        return ""
    if asked.arrived:
        return f"; request {asked.serial} had arrived already"
    headers = dict(request.headers)
    wrong = [name for name in _IDENTITY if headers.get(name) != record.headers.get(name)]
    if record.body != request.body:
        wrong.append("body")
    return f"; request {asked.serial} is another: {', '.join(wrong)}"


def _number(event: object) -> int:
    number = cast("dict[str, object]", event).get("n") if isinstance(event, dict) else None
    return number if isinstance(number, int) else -1


def _lines(record: RecordedRequest, at: float, token: int, key: int) -> tuple[str, ...]:
    """A request in the form in which drivers are compared: without the transport's headers, and
    with the token and the idempotency key replaced by their numbers."""
    shown = {name: text for name, text in record.headers.items() if name not in _FRAMING}
    if token:
        shown["authorization"] = f"Bearer <token {token}>"
    if key:
        shown["idempotency-key"] = f"<key {key}>"
    return (
        f"[{at:.6f}] {record.method} {record.path}",
        *(f"    {name}: {text}" for name, text in sorted(shown.items())),
        f"    {record.body.decode('utf-8', 'backslashreplace')}",
    )
