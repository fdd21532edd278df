"""The behaviour of the API (``docs/explanation/wire.md``), with no socket, thread or clock.

1. `StorefrontApi.read` says what a request is: its route, and the events in its body.
2. `StorefrontApi.answer` decides what becomes of it at a given time.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate

from masivo._protocol.wire.bodies import read_body
from masivo.emulator.answers import Answer, Json, error_answer, html_answer, json_answer
from masivo.emulator.quota import Quota
from masivo.emulator.schema import RESERVED_TYPES, problem_with
from masivo.emulator.tokens import IssuedToken, Tokens

BASE_PATH = "/api/storefront/v1"

# The longest body that is read, in bytes: as it comes, and without its encoding.
MAX_BODY = 64 * 1024 * 1024

# How many bad events of a batch an error names.
MAX_NAMED = 10

_METHODS = {"authorize": "GET", "events": "POST", "event": "POST"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood."""

    method: str
    # "authorize", "events", "event", or the path where it is none of the API's.
    route: str
    # Names in lower case.
    headers: dict[str, str]
    # The events in the body; None where there are none, or the body is not as it should be.
    events: list[Json] | None = None
    # What is wrong with the body; None if nothing is.
    malformed: str | None = None


class StorefrontApi:
    """The API's state: keys, tokens, quota. Not thread-safe: the caller holds a lock.

    `reject` may declare an event bad by its content: it returns what is wrong, or None.
    """

    def __init__(
        self,
        *,
        client_key: str,
        server_key: str,
        token_ttl: float = 3600.0,
        daily_quota: int | None = None,
        opaque_tokens: bool = False,
        events_path: str = "/behavior/events/bulk",
        events_key: str | None = "events",
        reject: Callable[[dict[str, Json]], str | None] | None = None,
    ) -> None:
        self.reject = reject
        self._client_key = client_key
        self._server_key = server_key
        self._tokens = Tokens(token_ttl, opaque=opaque_tokens)
        self._quota = Quota(daily_quota)
        self._events_key = events_key
        self._routes = {
            f"{BASE_PATH}/auth/authorize": "authorize",
            f"{BASE_PATH}/behavior/events": "event",
            f"{BASE_PATH}{events_path}": "events",
        }

    def route(self, target: str) -> str:
        """Return the route of a request target: a name of the API's, or the path."""
        path = target.partition("?")[0]
        if not path.startswith("/"):  # the absolute form, as for a proxy
            path = "/" + path.partition("://")[2].partition("/")[2]
        return self._routes.get(path, path)

    def read(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Call:
        """Parse a request; header names are in lower case. Touches no state, raises nothing."""
        route = self.route(target)
        call = Call(method, route, headers)
        if method != "POST" or route not in ("events", "event"):
            return call
        try:
            plain = read_body(headers, body, MAX_BODY)
        except ValueError as error:
            return replace(call, malformed=f"The body cannot be read: {error}")
        try:
            document: Json = json.loads(plain.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return replace(call, malformed=f"The body is not JSON: {error}")
        if route == "event":
            return replace(call, events=[document])
        if self._events_key is None:
            events = document
        elif isinstance(document, dict):
            events = document.get(self._events_key)
        else:
            events = None
        if isinstance(events, list):
            return replace(call, events=events)
        place = f"field {self._events_key!r}" if self._events_key else "body"
        return replace(call, malformed=f"The {place} must be an array of events")

    def answer(self, call: Call, now: float) -> Answer:
        """Process a request at `now`, in seconds since the epoch, and return the answer."""
        key = self._key_of(call)
        allowance = self._quota.spend(key, now)
        if allowance.granted:
            answer = self._process(call, now)
        else:
            answer = error_answer(429, "Too Many Requests", "The quota of the day is used up")
        return replace(
            answer, headers=(*self.base_headers(now), *answer.headers, *allowance.headers)
        )

    def base_headers(self, now: float) -> tuple[tuple[str, str], ...]:
        """Return what every answer carries, `Date` above all."""
        return (("Date", formatdate(now, usegmt=True)), ("Server", "masivo-emulator"))

    def kind_of(self, key: str | None) -> str:
        """Return what kind of key this is, for a person to read; never the key."""
        if not key:
            return "no key"
        return {self._client_key: "CLIENT key", self._server_key: "SERVER key"}.get(
            key, "unknown key"
        )

    def token_in(self, headers: dict[str, str]) -> IssuedToken | None:
        """Return what is known of the token that a request carries; None if it carries none."""
        token = _bearer(headers)
        return self._tokens.find(token) if token is not None else None

    def newest_tokens(self, count: int) -> list[IssuedToken]:
        """Return the last so many tokens that were issued, the newest first."""
        return self._tokens.newest(count)

    def revoke_tokens(self) -> None:
        """Make every token issued so far answer 401."""
        self._tokens.revoke_all()

    def _key_of(self, call: Call) -> str | None:
        """Return the known key that a request is counted for."""
        if call.route == "authorize":
            key = call.headers.get("x-api-key")
            return key if key in (self._client_key, self._server_key) else None
        token = self.token_in(call.headers)
        return token.key if token is not None else None

    def _process(self, call: Call, now: float) -> Answer:
        method = _METHODS.get(call.route)
        if method is None:
            if call.route == BASE_PATH or call.route.startswith(f"{BASE_PATH}/"):
                return error_answer(404, "Not Found", f"There is no route {call.route}")
            return html_answer()
        if call.method != method:
            allowed = (("Allow", method),)
            return error_answer(405, "Method Not Allowed", f"Use {method} here", allowed)
        if call.route == "authorize":
            return self._authorize(call, now)
        return self._take_events(call, now)

    def _authorize(self, call: Call, now: float) -> Answer:
        key = call.headers.get("x-api-key")
        if not key:
            return error_answer(401, "Unauthorized", "The header x-api-key is missing")
        if key not in (self._client_key, self._server_key):
            return error_answer(401, "Unauthorized", "The API key is not valid")
        if key == self._server_key and call.headers.get("x-masivo-sdk") == "client":
            return error_answer(
                401,
                "A SERVER key cannot be used here",
                "This is a server key; a client SDK needs a CLIENT key",
            )
        return json_answer(200, {"data": self._tokens.issue(key, now)})

    def _take_events(self, call: Call, now: float) -> Answer:
        token = _bearer(call.headers)
        if token is None:
            return error_answer(401, "Unauthorized", "The bearer token is missing")
        if problem := self._tokens.problem_with(token, now):
            return error_answer(401, "Unauthorized", problem)
        if call.malformed is not None or call.events is None:
            return error_answer(400, "Bad Request", call.malformed or "The body is missing")
        if not call.events:
            return error_answer(422, "There are no events", "The array of events is empty")
        reserved = (
            RESERVED_TYPES if self._tokens.key_of(token) == self._client_key else frozenset[str]()
        )
        problems: list[str] = []
        accepted: list[dict[str, Json]] = []
        for index, event in enumerate(call.events):
            problem = problem_with(event, now=now, reserved=reserved)
            if problem is None and isinstance(event, dict):
                accepted.append(event)
                problem = self._rejection(event)
            if problem:
                place = f"events[{index}]" if call.route == "events" else "event"
                problems.append(f"{place}{problem}")
        if problems:
            rest = f"; and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
            return error_answer(
                422,
                f"{problems[0]} ({len(problems)} of {len(call.events)} events are bad; "
                "nothing was accepted)",
                "; ".join(problems[:MAX_NAMED]) + rest,
            )
        if call.route == "event":
            document: dict[str, object] = {
                "id": str(uuid.uuid4()),
                "status": "PENDING",
                **{name: accepted[0][name] for name in ("customer_id", "brand_id", "type")},
            }
        else:
            document = {"status": "PENDING", "accepted": len(accepted)}
        return json_answer(200, {"data": document}, accepted=tuple(accepted))

    def _rejection(self, event: dict[str, Json]) -> str | None:
        if self.reject is None:
            return None
        reason = self.reject(event)
        return f" was rejected: {reason}" if reason is not None else None


def _bearer(headers: dict[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")
