"""One relay, from its start to its end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from masivo._protocol.wire.serving import BASE_PATH

from .bodies import Bodies
from .intake import Intake, app
from .operations import Operations
from .server import USUAL, Limits, Server
from .tokens import Tokens

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from masivo.protocol import Secret, Settings

    from .metrics import Metrics
    from .store import RelayStore

__all__ = ["Relay"]

DELIVERY_SECONDS: Final = 5.0
"""Seconds for requests to the API that are in flight at the end."""
GRACE: Final = 1.5
"""Further seconds after which a store that has not stopped is abandoned."""


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
        """Take events until ``stop`` is called; then end within 10 s.

        Args:
            listener: a socket that is bound; it is closed in the end.
            ready: called with the relay's ``base_url`` once it takes requests.

        Raises:
            RelayError: the store cannot be used with these settings.
        """
        try:
            secret = await self._started()
            if secret is not None:
                await self._serve(listener, secret, ready)
        finally:
            listener.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(DELIVERY_SECONDS + GRACE):
                    await self._store.stop(DELIVERY_SECONDS)

    async def _started(self) -> bytes | None:
        """Start the store; return its secret, or None if ``stop`` was called first."""
        starting = asyncio.ensure_future(self._store.start())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return starting.result() if starting.done() else None
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def _serve(
        self, listener: socket.socket, secret: bytes, ready: Callable[[str], object]
    ) -> None:
        tokens = Tokens(self._keys, secret, self._store.now)
        bodies = Bodies(self._limits.memory)
        intake = Intake(self._store, tokens, self._settings, self._metrics, bodies)
        operations = Operations(self._store, self._metrics)
        server = Server(app(intake, operations.routes()), self._limits)
        host, port = listener.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        base_url = f"http://{address}:{port}{BASE_PATH}"
        serving = asyncio.ensure_future(server.run_on(listener, lambda: ready(base_url)))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.should_exit = True
            stopping.cancel()
            await serving
