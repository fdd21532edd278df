"""One relay, from its start to its end."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar

from masivo._protocol.wire.serving import BASE_PATH

from .bodies import Bodies
from .intake import Intake, app
from .operations import Operations
from .server import USUAL, Limits, Server
from .store import StoreUnreachableError
from .tokens import Tokens

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable

    from masivo.protocol import Secret, Settings

    from .metrics import Metrics
    from .store import RelayStore

__all__ = ["Relay", "run"]

T = TypeVar("T")

DELIVERY_SECONDS: Final = 5.0
"""Seconds for requests to the API that are in flight at the end."""
GRACE: Final = 1.5
"""Further seconds after which a store that has not stopped is abandoned."""
TRY_AGAIN: Final = 1.0
"""Seconds between two tries to start the store."""
WARN_AGAIN: Final = 60.0
"""Seconds between two warnings that the store does not respond."""

_logger = logging.getLogger("masivo.relay")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the program of a relay, to its end: on uvloop, which takes less CPU time than asyncio's
    own loop, or on that where uvloop does not exist (PyPy, Windows)."""
    if find_spec("uvloop") is None:
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


class Relay:
    """One relay.

    Args:
        store: keeps and delivers events.
        settings: of the client that delivers.
        keys: the keys that clients may use.
        metrics: the relay's; the store counts into them, too.
        limits: for clients.
    """

    def __init__(
        self,
        store: RelayStore,
        settings: Settings,
        keys: Iterable[Secret],
        metrics: Metrics,
        limits: Limits = USUAL,
    ) -> None:
        self._store = store
        self._settings = settings
        self._keys = list(keys)
        self._metrics = metrics
        self._limits = limits
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Make ``run`` end. Call it in the loop's thread."""
        self._stopping.set()

    async def run(self, listener: socket.socket, ready: Callable[[str], object]) -> None:
        """Take events until ``stop`` is called; then end within 10 s. While the store does not
        respond at the start, wait for it; clients get a 503.

        Args:
            listener: a socket that is bound; it is closed in the end.
            ready: called with the relay's ``base_url`` once it takes events.

        Raises:
            RelayError: the store cannot be used with these settings.
        """
        intake = Intake(self._store, self._settings, self._metrics, Bodies(self._limits.memory))
        operations = Operations(self._store, self._metrics)
        server = Server(app(intake, operations.routes()), self._limits)
        base_url = _base_url(listener)
        listens = asyncio.Event()

        async def start() -> None:
            secret = await self._started(operations)
            intake.tokens = Tokens(self._keys, secret, self._store.now)
            operations.waits = None
            await listens.wait()
            ready(base_url)

        starting = asyncio.ensure_future(start())
        stopping = asyncio.ensure_future(self._stopping.wait())
        serving = asyncio.ensure_future(server.run_on(listener, listens.set))
        try:
            ends = {serving, stopping}
            await asyncio.wait({starting, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.should_exit = True
            starting.cancel()
            stopping.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            try:
                await serving
            finally:
                listener.close()
                with suppress(TimeoutError):
                    async with asyncio.timeout(DELIVERY_SECONDS + GRACE):
                        await self._store.stop(DELIVERY_SECONDS)

    async def _started(self, operations: Operations) -> bytes:
        """Start the store, and return its secret; wait for a store that does not respond."""
        warn_at = 0.0
        while True:
            try:
                secret = await self._store.start()
            except StoreUnreachableError as error:
                operations.waits = str(error)
                if time.monotonic() >= warn_at:
                    warn_at = time.monotonic() + WARN_AGAIN
                    _logger.warning(
                        "the relay waits for its store, which does not respond: %s", error
                    )
                await asyncio.sleep(TRY_AGAIN)
            else:
                if warn_at:
                    _logger.warning("the store responds")
                return secret


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host
    return f"http://{address}:{port}{BASE_PATH}"
