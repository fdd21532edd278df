"""The model of the API: its keys and tokens, what it accepts, and what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from simulation.frame import Violation

from masivo.protocol import Failure, Response

if TYPE_CHECKING:
    import random

    from masivo.protocol import Request

    from .history import Event, History

__all__ = ["EPOCH", "OUTAGES", "Account", "Answer", "Server"]

EPOCH: Final = 1_790_000_000.0
"""The true time at the beginning, in seconds since the epoch."""
OUTAGES: Final = {
    "unavailable": 503,
    "failing": 500,
    "denied": 403,
    "moved": 302,
    "missing": 404,
    "no token is taken": 401,
    "a page": 200,
    "busy": 429,
    "busy for long": 429,
    "unreachable": None,
    "silent": None,
}
"""What may be wrong with the API for a while, with the status of its responses."""
_TOKENS_TOO: Final = {"unavailable", "busy", "busy for long", "unreachable", "silent"}
"""What concerns authorizations, too."""
_LIFE: Final = 7200.0
"""A token works for this many seconds."""


@dataclass(slots=True)
class Account:
    """An account of the API: its address, and its key."""

    name: str
    key: str
    url: str
    refused: bool = False
    """The key is refused now."""
    replaced: bool = False
    """The key is refused for ever."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back for a request, and after how long."""

    result: Response | Failure
    processed: bool = False
    """The API has acted on the request."""
    silent: bool = False
    """Nothing comes before the request's timeout."""


class Server:
    """What is behind the network.

    Args:
        random: of the simulation.
        history: of the events.
        ahead: how far the server's clock is ahead of the simulation's, in seconds.
    """

    def __init__(self, random: random.Random, history: History, ahead: float) -> None:
        self._random = random
        self._history = history
        self._ahead = ahead
        self.accounts: dict[str, Account] = {}
        """By their keys."""
        self.outage: str | None = None
        self.healed = False
        """Nothing fails any more, what always fails neither."""
        self.requests = 0
        self.whole: set[int] = set()
        """The processes that halve no batch."""
        self._tokens: dict[str, tuple[Account, float]] = {}

    def time(self, now: float) -> float:
        """What its clock reads."""
        return EPOCH + now + self._ahead

    def events_of(self, body: bytes) -> list[tuple[Event, dict[str, Any]]]:
        """The events in a request's body, with their fields."""
        fields: list[dict[str, Any]] = json.loads(body)["events"]
        return [(self._history.events[each["n"]], each) for each in fields]

    def handle(self, request: Request, sender: int, now: float) -> Answer:
        """Act on a request, as the outage of the moment has it."""
        self.requests += 1
        outage = self.outage
        if outage is not None and (request.method == "POST" or outage in _TOKENS_TOO):
            if outage == "unreachable":
                return Answer(Failure("nobody there", sent=False))
            if outage == "silent":
                return Answer(Failure("no response in time", sent=True), silent=True)
            return Answer(self._fails(outage, now))
        if request.method == "GET":
            return self._authorize(dict(request.headers)["x-api-key"], now)
        return self._take(request, sender, now)

    def _fails(self, outage: str, now: float) -> Response:
        status = OUTAGES[outage]
        assert status is not None
        wait = {"busy": 5, "busy for long": 400}.get(outage)
        body = b"<html>a page</html>" if outage == "a page" else b'{"error":"an outage"}'
        return self._response(status, body, now, wait)

    def _response(self, status: int, body: bytes, now: float, wait: int | None = None) -> Response:
        headers = {"date": _http_date(self.time(now))}
        if wait is not None:
            headers["retry-after"] = str(wait)
        return Response(status, headers, body)

    def _authorize(self, key: str, now: float) -> Answer:
        account = self.accounts[key]
        if account.refused or account.replaced:
            return Answer(self._response(401, b'{"error":"the key is refused"}', now))
        token = f"token-{len(self._tokens)}-{account.name}"
        self._tokens[token] = account, now + _LIFE
        return Answer(self._response(200, json.dumps({"data": token}).encode(), now), True)

    def _take(self, request: Request, sender: int, now: float) -> Answer:
        headers = dict(request.headers)
        account, until = self._tokens[headers["authorization"].removeprefix("Bearer ")]
        if now >= until or account.refused or account.replaced:
            return Answer(self._response(401, b'{"error":"the token is no more"}', now))
        entries = self.events_of(request.body)
        events = [event for event, _ in entries]
        for event in events:
            if event.account != account.name:
                raise Violation("account", f"{event} was sent for {account.name}")
        if not self.healed and any(event.nature == "poison" for event in events):
            return Answer(self._response(500, b'{"error":"it always fails"}', now))
        if any(event.nature == "bad" for event in events):
            for event in events if len(events) == 1 or sender in self.whole else ():
                event.rejected = True
            return Answer(self._response(422, b'{"error":"an event is bad"}', now), True)
        self._history.process(events, headers["idempotency-key"], sender)
        return Answer(self._response(201, b'{"data":{"status":"PENDING"}}', now), True)


def _http_date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
