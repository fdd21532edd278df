"""The routes of the API that a relay serves, as the API does (``docs/explanation/wire.md``).

A batch gets a 200 when all its events are stored, and not before.
"""

from __future__ import annotations

import logging
import math
import time
from email.utils import formatdate
from functools import lru_cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router

from masivo._protocol.json import encode
from masivo._protocol.wire import serving
from masivo._protocol.wire.serving import BASE_PATH, METHODS, Reply, bearer, failure

from .bodies import MAX_BODY, Bodies, CrowdedError, TooLongError
from .checking import MAX_EVENTS, BadEventsError, Check, MalformedError, TooManyError
from .store import Batch, Kept, StoreFullError, StoreUnreachableError, place_of
from .tokens import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from masivo.protocol import Settings

    from .metrics import Metrics
    from .store import RelayStore
    from .tokens import Tokens

__all__ = ["Intake", "app"]

AGAIN: Final = 10
"""Seconds after which a client should retry if the store is full."""
SOON: Final = 1
"""The same if memory is short."""
WARN_AGAIN: Final = 60.0
"""Seconds between two warnings that the store is full."""
MAX_KEY: Final = 255
"""The longest ``Idempotency-Key``."""

_logger = logging.getLogger("masivo.relay")

_TOO_LONG: Final = failure(
    413,
    "Content Too Large",
    f"A body may have at most {MAX_BODY} bytes, before and after decompression",
)
_TOO_MANY: Final = failure(
    413, "Content Too Large", f"A batch may have at most {MAX_EVENTS} events; send several batches"
)
_FULL: Final = failure(
    429,
    "Too Many Requests",
    "The relay's store is full: nothing of the batch was kept; send it again later",
    (("Retry-After", str(AGAIN)),),
)
_UNREACHABLE: Final = failure(
    503,
    "Service Unavailable",
    "The relay's store does not respond; send the batch again, with the same Idempotency-Key",
)
_CROWDED: Final = failure(
    503,
    "Service Unavailable",
    "The relay has no memory for another body now; send it again later",
    (("Retry-After", str(SOON)),),
)
_CONFLICT: Final = failure(
    409,
    "Conflict",
    "Another body came with this Idempotency-Key before; nothing of this one was kept",
)
_LONG_KEY: Final = failure(
    400, "Bad Request", f"An Idempotency-Key may have at most {MAX_KEY} characters"
)
_BAD_KEY: Final = failure(
    401,
    "This relay does not know the key",
    "A client's key is one of MASIVO_RELAY_KEYS, or, where the relay has none, that of the API",
)
_NOTHING: Final = failure(404, "Not Found", f"There is nothing here: base_url ends in {BASE_PATH}")
_BROKEN: Final = failure(
    500, "Internal Server Error", "The relay has failed; its log says where. Send it again"
)


class Intake:
    """Takes batches, once ``tokens`` is set.

    Args:
        store: keeps the batches.
        settings: of the client that delivers.
        metrics: counts responses and accepted events.
        bodies: bounds the bodies in memory.
    """

    def __init__(
        self,
        store: RelayStore,
        settings: Settings,
        metrics: Metrics,
        bodies: Bodies,
    ) -> None:
        self.tokens: Tokens | None = None
        """For the keys of clients; None: the store has not started."""
        self._store = store
        self._metrics = metrics
        self._responses = lru_cache(None)(metrics.responses.labels)
        self._check = Check(settings)
        self._bodies = bodies
        self._full = False
        self._warn_at = 0.0
        self._api = settings.account.api

    def routes(self) -> list[Route]:
        """The routes below the base path; any other route there belongs to the API."""
        return [
            self._route(self._api.events_path, "events", self._take),  # first: it is the usual one
            self._route(self._api.authorize_path, "authorize", self._authorize),
            self._route("/{path:path}", "other", _elsewhere),
        ]

    def _route(
        self, path: str, name: str, endpoint: Callable[[Request], Awaitable[Reply]]
    ) -> Route:
        respond = partial(self._respond, name, METHODS.get(name), endpoint)
        # Starlette would allow GET only for a function without methods.
        return Route(f"{BASE_PATH}{path}", _Endpoint(respond), methods=None)

    async def _respond(
        self,
        name: str,
        method: str | None,
        endpoint: Callable[[Request], Awaitable[Reply]],
        request: Request,
    ) -> Response:
        try:
            if method is not None and request.method != method:
                reply = serving.wrong_method(method)
            else:
                reply = await endpoint(request)
        except ClientDisconnect:
            reply = _BROKEN  # the client cannot read it
        except Exception as error:  # noqa: BLE001 (its message may hold what came in)
            _logger.error("a request has failed: %s", place_of(error))  # noqa: TRY400
            reply = _BROKEN
        self._responses(name, reply.status).inc()
        return self.response(reply)

    def response(self, reply: Reply) -> Response:
        """A reply as Starlette sends it."""
        now = time.time() if self.tokens is None else self._store.now()
        return Response(
            encode(reply.document),
            reply.status,
            {"Date": _date(math.floor(now)), **dict(reply.headers)},
            "application/json",
        )

    async def unknown(self, scope: Any, receive: Any, send: Any) -> None:
        """Respond to a path without a route."""
        await self.response(_NOTHING)(scope, receive, send)

    async def _authorize(self, request: Request) -> Reply:
        if self.tokens is None:
            return _UNREACHABLE
        key = request.headers.get("x-api-key")
        if not key:
            return serving.NO_KEY
        token = self.tokens.grant(key)
        return _BAD_KEY if token is None else serving.granted(token)

    async def _take(self, request: Request) -> Reply:
        if self.tokens is None:
            return _UNREACHABLE
        token = bearer(request.headers.get("authorization", ""))
        if token is None:
            return serving.NO_TOKEN
        try:
            account = self.tokens.account(token)
        except InvalidTokenError as error:
            return serving.bad_token(str(error))
        key = request.headers.get("idempotency-key") or None
        if key is not None and len(key) > MAX_KEY:
            return _LONG_KEY
        with self._bodies.reading() as body:
            try:
                plain = await body.read(request)
                events = self._check.events(plain, self._store.now())
            except TooLongError:
                return _TOO_LONG
            except TooManyError:
                return _TOO_MANY
            except CrowdedError:
                return _CROWDED
            except MalformedError as error:
                return serving.malformed(str(error))
            except BadEventsError as error:
                return serving.bad_events(error.problems, error.total)
            except ValueError as error:
                return serving.malformed(f"The body cannot be read: {error}")
            if not events:
                return serving.NO_EVENTS
            batch = Batch(account, key, sha256(plain).digest(), events)
            del plain
            return await self._keep(batch)

    async def _keep(self, batch: Batch) -> Reply:
        try:
            kept = await self._store.keep(batch)
        except StoreFullError as error:
            self._warn(error)
            return _FULL
        except StoreUnreachableError:
            return _UNREACHABLE
        if kept is Kept.CONFLICT:
            return _CONFLICT
        if kept is Kept.STORED:
            if self._full:
                self._full = False
                _logger.warning("the store has room again")
            self._metrics.accepted.inc(len(batch.events))
        return serving.accepted(len(batch.events))

    def _warn(self, error: StoreFullError) -> None:
        """Warn that batches are refused, once in a while: a store may be full in turns."""
        if not self._full and time.monotonic() >= self._warn_at:
            self._full, self._warn_at = True, time.monotonic() + WARN_AGAIN
            _logger.warning("the store is full, batches get a 429: %s", error)


class _Endpoint:
    """An ASGI application, which Starlette calls for every method."""

    def __init__(self, respond: Callable[[Request], Awaitable[Response]]) -> None:
        self._respond = respond

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


async def _elsewhere(_request: Request) -> Reply:
    return failure(
        404,
        "Not Found",
        "A relay takes authorizations and batches of events alone: send everything else to the "
        "API itself",
    )


def app(intake: Intake, others: Sequence[Route]) -> Router:
    """The application: the intake's routes and the others."""
    return Router([*intake.routes(), *others], default=intake.unknown)
