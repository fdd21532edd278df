"""The asyncio driver under test: a loop in a thread of its own, whose time is the suite's."""

from __future__ import annotations

import asyncio
import selectors
import threading
from typing import TYPE_CHECKING, TypeVar

from masivo import AsyncClient
from masivo.testing.conformance.adapter import LIMIT, Adapter, ClientHandle, ClientSettings
from masivo.testing.conformance.worlds.stores import with_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from concurrent.futures import Future

    from masivo._async.client import AsyncDelivery
    from masivo.protocol import FlushResult, SendEventResult, Stats, Store
    from masivo.testing.conformance.clock import VirtualClock

__all__ = ["AsyncioAdapter", "VirtualLoop"]

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """A selector that waits for sockets, and never for time."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(0 if timeout is not None and timeout <= 0 else None)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the suite's. Wake the loop after moving the time."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_Selector())
        self._suite_clock = clock

    def time(self) -> float:
        """Seconds on the suite's clock."""
        return self._suite_clock.monotonic()


class Loop:
    """A running loop, as seen from another thread."""

    def __init__(self, clock: VirtualClock) -> None:
        self._loop = VirtualLoop(clock)
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="conformance-asyncio", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._stay())

    async def _stay(self) -> None:
        await self._stop.wait()

    def stop(self) -> None:
        """End the loop and everything that runs in it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LIMIT)

    def wake(self) -> None:
        """Make the loop check the time."""
        self._loop.call_soon_threadsafe(_nothing)

    def call(self, function: Callable[[], T]) -> T:
        """Call a plain function in the loop."""

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(LIMIT)

    def begin(self, function: Callable[[], Awaitable[T]]) -> Future[T]:
        """Begin a call in the loop; returns when it waits for something, or has ended."""

        async def call() -> T:
            return await function()

        future = asyncio.run_coroutine_threadsafe(call(), self._loop)
        # Its task takes its first step before that of this one, which was made later.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(LIMIT)
        return future


def _nothing() -> None:
    """Wake the loop."""


class _Sent:
    def __init__(self, loop: Loop, delivery: AsyncDelivery) -> None:
        self._loop = loop
        self._delivery = delivery

    def done(self) -> bool:
        return self._delivery.done()

    def outcome(self, timeout: float | None = None) -> Future[SendEventResult]:
        return self._loop.begin(lambda: asyncio.wait_for(self._delivery, timeout))


class _Handle(ClientHandle):
    def __init__(self, loop: Loop, client: AsyncClient) -> None:
        self._loop = loop
        self._client = client

    def send(self, event: Mapping[str, object]) -> _Sent:
        delivery = self._loop.call(lambda: self._client.send_analytics_event(event))
        return _Sent(self._loop, delivery)

    def flush(self, timeout: float | None = None) -> Future[FlushResult]:
        return self._loop.begin(lambda: self._client.flush(timeout))

    def drain(self, timeout: float | None = None) -> Future[None]:
        return self._loop.begin(lambda: self._client.drain(timeout))

    def get_token(self, timeout: float | None = None) -> Future[str]:
        return self._loop.begin(lambda: self._client.get_token(timeout))

    def close(self, timeout: float | None = 10.0) -> Future[None]:
        return self._loop.begin(lambda: self._client.aclose(timeout))

    def destroy(self) -> None:
        self._loop.call(self._client.destroy)

    def stats(self) -> Stats:
        return self._loop.call(self._client.stats)


class AsyncioAdapter(Adapter):
    """``masivo.AsyncClient``."""

    name = "asyncio"

    def start(self) -> None:
        """Start the loop."""
        self._loop = Loop(self.clock)

    def stop(self) -> None:
        """End the loop."""
        self._loop.stop()

    def make(
        self, api_key: str, base_url: str, settings: ClientSettings, store: Store | None
    ) -> ClientHandle:
        """See Adapter."""
        client = with_store(AsyncClient, store)(api_key, base_url=base_url, **settings)
        self._loop.begin(client.__aenter__).result(LIMIT)
        return _Handle(self._loop, client)

    def advanced(self) -> None:
        """See Adapter."""
        self._loop.wake()
