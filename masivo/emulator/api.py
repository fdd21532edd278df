"""The API's behaviour (``docs/explanation/wire.md``), without a socket, a thread or a clock.

1. `StorefrontApi.read` parses a request: its route, and the events in its body.
2. `StorefrontApi.respond` processes it at a given time and returns the response.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, Final

from masivo._protocol.wire import serving
from masivo._protocol.wire.api import RESERVED_TYPES
from masivo._protocol.wire.bodies import read_body
from masivo._protocol.wire.schema import problem_with
from masivo._protocol.wire.serving import BASE_PATH, METHODS, bearer
from masivo.emulator.quota import USED_UP, Quota
from masivo.emulator.responses import (
    Json,
    Response,
    error_response,
    html_response,
    json_response,
    response_of,
)
from masivo.emulator.tokens import IssuedToken, Tokens

# The longest body that is read, in bytes, both as received and decoded.
MAX_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One parsed request."""

    method: str
    # "authorize", "events", "event", or the path if it is no route of the API.
    route: str
    # Names in lower case.
    headers: dict[str, str]
    # The events in the body; None if the body is missing or malformed.
    events: list[Json] | None = None
    # What is wrong with the body; None if nothing is.
    malformed: str | None = None


CLIENT_KEY: Final = "emulator-client-key"
"""The CLIENT key of an emulator that is started from a shell, unless it is given another."""

OURS: Final = "CLIENT key"
"""The kind of the emulator's own CLIENT key."""


class StorefrontApi:
    """The API's state: keys, tokens, quota. Not thread-safe: the caller holds a lock.

    `reject` may reject an event by its content: it returns the reason, or None.
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
        reject: Callable[[dict[str, Any]], str | None] | None = None,
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
        """Return the route of a request target: its name, or the path if it has none."""
        path = target.partition("?")[0]
        if not path.startswith("/"):  # the absolute form, as sent to a proxy
            path = "/" + path.partition("://")[2].partition("/")[2]
        return self._routes.get(path, path)

    def read(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Call:
        """Parse a request with header names in lower case; a body of more than MAX_BODY bytes is
        left. Changes no state, raises nothing."""
        route = self.route(target)
        call = Call(method, route, headers)
        if method != "POST" or route not in ("events", "event") or len(body) > MAX_BODY:
            return call
        try:
            plain = read_body(headers, body, MAX_BODY)
        except ValueError as error:
            return replace(call, malformed=f"The body cannot be read: {error}")
        try:
            document: Json = json.loads(plain.decode(), parse_constant=_reject_constant)
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

    def respond(self, call: Call, now: float) -> Response:
        """Process a request at `now`, in seconds since the epoch, and return the response."""
        key = self._key_of(call)
        allowance = self._quota.spend(key, now)
        if allowance.granted:
            response = self._process(call, now)
        else:
            response = error_response(429, "Too Many Requests", USED_UP)
        return replace(
            response, headers=(*self.base_headers(now), *response.headers, *allowance.headers)
        )

    def base_headers(self, now: float) -> tuple[tuple[str, str], ...]:
        """Return the headers of every response, among them `Date`."""
        return (("Date", formatdate(now, usegmt=True)), ("Server", "masivo-emulator"))

    def kind_of(self, key: str | None) -> str:
        """Return the kind of this key in words, never the key itself."""
        if not key:
            return "no key"
        return {self._client_key: OURS, self._server_key: "SERVER key"}.get(key, "unknown key")

    def token_in(self, headers: dict[str, str]) -> IssuedToken | None:
        """Return the record of a request's token; None if it has none, or an unknown one."""
        token = bearer(headers.get("authorization", ""))
        return self._tokens.find(token) if token is not None else None

    def newest_tokens(self, count: int) -> list[IssuedToken]:
        """Return the last `count` tokens issued, the newest first."""
        return self._tokens.newest(count)

    def revoke_tokens(self) -> None:
        """Revoke every token issued so far: requests with them get a 401."""
        self._tokens.revoke_all()

    def _key_of(self, call: Call) -> str | None:
        """Return the known key whose quota a request counts against."""
        if call.route == "authorize":
            key = call.headers.get("x-api-key")
            return key if key in (self._client_key, self._server_key) else None
        token = self.token_in(call.headers)
        return token.key if token is not None else None

    def _process(self, call: Call, now: float) -> Response:
        method = METHODS.get(call.route)
        if method is None:
            if call.route == BASE_PATH or call.route.startswith(f"{BASE_PATH}/"):
                return error_response(404, "Not Found", f"There is no route {call.route}")
            return html_response()
        if call.method != method:
            return response_of(serving.wrong_method(method))
        if call.route == "authorize":
            return self._authorize(call, now)
        return self._take_events(call, now)

    def _authorize(self, call: Call, now: float) -> Response:
        key = call.headers.get("x-api-key")
        if not key:
            return response_of(serving.NO_KEY)
        if key not in (self._client_key, self._server_key):
            return response_of(serving.BAD_KEY)
        if key == self._server_key and call.headers.get("x-masivo-sdk") == "client":
            return error_response(
                401,
                "A SERVER key cannot be used here",
                "This is a server key; a client SDK needs a CLIENT key",
            )
        return response_of(serving.granted(self._tokens.issue(key, now)))

    def _take_events(self, call: Call, now: float) -> Response:
        token = bearer(call.headers.get("authorization", ""))
        if token is None:
            return response_of(serving.NO_TOKEN)
        if problem := self._tokens.problem_with(token, now):
            return response_of(serving.bad_token(problem))
        if call.malformed is not None or call.events is None:
            return response_of(serving.malformed(call.malformed or "The body is missing"))
        if not call.events:
            return response_of(serving.NO_EVENTS)
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
            return response_of(serving.bad_events(problems, len(call.events)))
        if call.route == "event":
            document = {
                "id": str(uuid.uuid4()),
                "status": "PENDING",
                **{name: accepted[0][name] for name in ("customer_id", "brand_id", "type")},
            }
            return json_response(200, {"data": document}, accepted=tuple(accepted))
        return response_of(serving.accepted(len(accepted)), tuple(accepted))

    def _rejection(self, event: dict[str, Json]) -> str | None:
        if self.reject is None:
            return None
        reason = self.reject(event)
        return f" was rejected: {reason}" if reason is not None else None


def _reject_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")
