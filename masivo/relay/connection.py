"""Connections to Redis. The URL's password is never shown. Errors are of three kinds: Redis does
not respond, it refuses, or it is full."""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from masivo._protocol.reporting.redaction import chain

from .store import RelayError, StoreFullError, StoreRefusedError, StoreUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo.protocol import Secret

    from .scripts import Script

__all__ = ["Blocking", "Connections"]

SECONDS: Final = 2.0
"""Seconds for a connection to Redis and its reply."""
MOST: Final = 32
"""The most connections for calls; a call waits for one."""

_ERRORS: Final = (RedisError, OSError, TimeoutError)
_RESET: Final = (RuntimeError, AttributeError)
"""Errors of a write to a connection that was reset while idle. uvloop raises a RuntimeError; the
loop of asyncio raises an AttributeError in some versions of Python 3.12 and 3.13."""
_LOOP_ERRORS: Final = (*_ERRORS, *_RESET)
"""The errors of a connection in an event loop."""
_REFUSALS: Final = (AuthenticationError, AuthorizationError, NoPermissionError)
_NO_PLACE: Final = "the URL"
"""In the place of a URL that is invalid: all of it may be a password."""
_PASSING: Final = ("BUSY ", "MISCONF ", "NOREPLICAS ")
"""Errors that may pass in a moment, beside those that redis-py has a class for."""


class Connections:
    """A relay's connections to Redis, for its event loop.

    Args:
        url: where it is, as redis-py has it: ``redis://[[user]:password@]host[:port][/database]``,
            ``rediss://`` with TLS, ``unix://``.

    Raises:
        RelayError: the URL is invalid.
    """

    def __init__(self, url: Secret) -> None:
        self.place: str = _place(url)
        """The URL without its credentials."""
        pools = None if self.place == _NO_PLACE else _pools(url)
        if pools is None:
            raise RelayError(
                f"{self.place} is no URL of a Redis; give --redis (or MASIVO_RELAY_REDIS) "
                "redis://HOST:PORT/DATABASE, rediss:// for TLS, or unix://PATH"
            )
        # Their types say little: what comes back depends on the command.
        self._pool: Any
        self._pool, bells, self._blocking = pools
        self._redis: Any = redis.asyncio.Redis(connection_pool=self._pool)
        self._bells: Any = redis.asyncio.Redis(connection_pool=bells)
        self._connections: list[Any] = []
        self._free: list[Any] = []
        self._turns = asyncio.Semaphore(MOST)

    def __repr__(self) -> str:
        return f"<Connections {self.place}>"

    async def call(self, *command: object) -> Any:
        """Run a command.

        Raises:
            StoreFullError: Redis has no memory for it.
            StoreRefusedError: Redis replied with an error that does not pass by itself.
            StoreUnreachableError: Redis did not reply, or replied with an error that may pass.
        """
        try:
            return await self._call(*command)
        except _LOOP_ERRORS as error:
            raise _error(error, self.place) from None

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        """Run a script; see ``call``."""
        try:
            try:
                return await self._call("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._call("EVAL", script.text, len(keys), *keys, *arguments)
        except _LOOP_ERRORS as error:
            raise _error(error, self.place) from None

    async def _call(self, *command: Any) -> Any:
        # Not by `execute_command`, whose pool, retries and timers cost as much as the command.
        async with asyncio.timeout(SECONDS), self._turns:
            connection = self._free.pop() if self._free else self._new()
            try:
                await self._pool.ensure_connection(connection)
                await connection.send_command(*command)
                return await self._redis.parse_response(connection, command[0])
            finally:
                self._free.append(connection)

    def _new(self) -> Any:
        connection = self._pool.make_connection()
        self._connections.append(connection)
        return connection

    async def wait_for(self, stream: str, after: str, seconds: float) -> bool:
        """Wait for an entry of a stream after an id; False if none came in time. See ``call``."""
        command = ("XREAD", "COUNT", 1, "BLOCK", round(1000 * seconds), "STREAMS", stream, after)
        try:
            return bool(await self._bells.execute_command(*command))
        except _LOOP_ERRORS as error:
            raise _error(error, self.place) from None

    def blocking(self) -> Blocking:
        """The same Redis for threads."""
        return Blocking(self._blocking, self.place)

    async def aclose(self) -> None:
        """Close all of them."""
        for each in (*self._connections, self._bells.connection_pool):
            await each.disconnect()
        self._blocking.disconnect()


class Blocking:
    """Connections to Redis, for threads."""

    def __init__(self, pool: redis.ConnectionPool, place: str) -> None:
        self._redis: Any = redis.Redis(connection_pool=pool)
        self._place = place

    def call(self, *command: object) -> Any:
        """See ``Connections``."""
        return self._do(lambda: self._redis.execute_command(*command))

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        """See ``Connections``."""
        call = self._redis.execute_command

        def run() -> Any:
            try:
                return call("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return call("EVAL", script.text, len(keys), *keys, *arguments)

        return self._do(run)

    def close(self) -> None:
        """Close all of them."""
        self._redis.connection_pool.disconnect()

    def _do(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except _ERRORS as error:
            raise _error(error, self._place) from None


def _pools(
    url: Secret,
) -> tuple[redis.asyncio.ConnectionPool, redis.asyncio.ConnectionPool, redis.ConnectionPool] | None:
    """The pools for calls, for ``wait_for`` and for threads; None if the URL is invalid."""
    waiting: Any = redis.asyncio.ConnectionPool
    blocking: Any = redis.ConnectionPool
    options: dict[str, Any] = {"socket_connect_timeout": SECONDS, "protocol": 2}
    retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
    bounded = {**options, "socket_timeout": SECONDS}
    try:
        pools = (
            waiting.from_url(url.reveal(), retry=retry, socket_timeout=None, **options),
            waiting.from_url(url.reveal(), retry=retry, **bounded),
            blocking.from_url(url.reveal(), retry=Retry(NoBackoff(), 0), **bounded),
        )
    except (ValueError, TypeError):
        return None
    _share_tls(pools[:2])
    return pools


def _share_tls(pools: Sequence[Any]) -> None:
    """Have the connections of an event loop share one TLS context: each would load all root
    certificates anew, and nothing else runs meanwhile, not even the renewal of leases."""
    contexts: list[Any] = []

    def connection(**options: Any) -> Any:
        made: Any = redis.asyncio.SSLConnection(**options)
        contexts.append(made.ssl_context)
        made.ssl_context = contexts[0]
        del contexts[1:]
        return made

    for pool in pools:
        if pool.connection_class is redis.asyncio.SSLConnection:
            pool.connection_class = connection


def _place(url: Secret) -> str:
    """A URL without its credentials and its query, which may hold some."""
    try:
        parts = urlsplit(url.reveal())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return _NO_PLACE
    if parts.scheme not in {"redis", "rediss", "unix"}:
        return _NO_PLACE
    # A path that names no database may be the rest of a password with a "/" that is not escaped.
    if parts.scheme != "unix" and not re.fullmatch(r"/?[0-9]*/?", parts.path):
        return _NO_PLACE
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"


def _error(error: Exception, place: str) -> StoreFullError | StoreUnreachableError:
    if isinstance(error, OutOfMemoryError):
        return StoreFullError(f"Redis at {place} has no memory left (maxmemory)")
    for each in chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return StoreRefusedError(
                f"Redis at {place}: its certificate is not accepted ({each.verify_message}). A "
                "certificate authority of your own is named by ?ssl_ca_certs=FILE at the end of "
                "the URL, whose host must be in the certificate"
            )
    silent = f"no reply within {SECONDS:g} s" if type(error) is TimeoutError else None
    text = " ".join(str(error).split()) or silent or type(error).__name__
    if isinstance(error, _RESET):
        text = "the connection was reset"
    lasting = type(error) is ResponseError and not text.startswith(_PASSING)
    kind = StoreRefusedError if lasting or isinstance(error, _REFUSALS) else StoreUnreachableError
    return kind(f"Redis at {place}: {text}")
