"""The trio driver under test: a run in a thread of its own, on a ``MockClock``.

The clock does not jump by itself: a task that waits for a socket looks idle to it, and time would
run away while a response is on its way. The suite moves it, when the driver is at rest.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

import trio
import trio.testing

from masivo import TrioClient
from masivo.testing.conformance.adapter import LIMIT, Adapter, ClientHandle, ClientSettings
from masivo.testing.conformance.worlds.stores import with_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from masivo._async.client import AsyncDelivery
    from masivo.protocol import FlushResult, SendEventResult, Stats, Store
    from masivo.testing.conformance.clock import VirtualClock

__all__ = ["TrioAdapter"]

T = TypeVar("T")


class _Run:
    """A trio run, as seen from another thread."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._mock = trio.testing.MockClock()
        self._ready = threading.Event()
        self._leave = trio.Event()
        self._thread = threading.Thread(target=self._run, name="conformance-trio", daemon=True)
        self._thread.start()
        if not self._ready.wait(LIMIT):
            raise TimeoutError("trio does not start")

    def _run(self) -> None:
        trio.run(self._stay, clock=self._mock)

    async def _stay(self) -> None:
        async with trio.open_nursery() as self._calls:
            async with trio.open_nursery() as self._clients:
                self._token = trio.lowlevel.current_trio_token()
                self._ready.set()
                await self._leave.wait()
            self._calls.cancel_scope.cancel()

    def stop(self) -> None:
        """Let clients leave their blocks, and end the run."""
        self.call(self._leave.set)
        self._thread.join(LIMIT)

    def jump(self) -> None:
        """Set the run's time to the suite's."""
        now = self._clock.monotonic()
        self.call(lambda: self._mock.jump(now - self._mock.current_time()))

    def call(self, function: Callable[[], T]) -> T:
        """Call a plain function in the run."""
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def begin(self, function: Callable[[], Awaitable[T]]) -> Future[T]:
        """Begin a call in the run; returns when it waits for something, or has ended."""
        future: Future[T] = Future()

        async def call() -> None:
            try:
                future.set_result(await function())
            except trio.Cancelled:
                future.cancel()
                raise
            except BaseException as error:  # noqa: BLE001 (it is the caller's)
                future.set_exception(error)
            finally:
                self._clock.notify()

        self.call(lambda: self._calls.start_soon(call))
        self._settle()
        return future

    def _settle(self) -> None:
        """Wait until every task waits for something."""
        trio.from_thread.run(trio.testing.wait_all_tasks_blocked, trio_token=self._token)

    def enter(self, client: TrioClient) -> None:
        """Enter a client, in its own task, which leaves it at the end."""
        entered: Future[None] = Future()

        async def live() -> None:
            async with client:
                entered.set_result(None)
                await self._leave.wait()

        self.call(lambda: self._clients.start_soon(live))
        entered.result(LIMIT)
        self._settle()


class _Sent:
    def __init__(self, run: _Run, delivery: AsyncDelivery) -> None:
        self._run = run
        self._delivery = delivery

    def done(self) -> bool:
        return self._delivery.done()

    def outcome(self, timeout: float | None = None) -> Future[SendEventResult]:
        return self._run.begin(lambda: _within(timeout, self._delivery))


async def _within(timeout: float | None, delivery: AsyncDelivery) -> SendEventResult:
    with trio.move_on_after(math.inf if timeout is None else timeout):
        return await delivery
    raise TimeoutError


class _Handle(ClientHandle):
    def __init__(self, run: _Run, client: TrioClient) -> None:
        self._run = run
        self._client = client

    def send(self, event: Mapping[str, object]) -> _Sent:
        return _Sent(self._run, self._run.call(lambda: self._client.send_analytics_event(event)))

    def flush(self, timeout: float | None = None) -> Future[FlushResult]:
        return self._run.begin(lambda: self._client.flush(timeout))

    def drain(self, timeout: float | None = None) -> Future[None]:
        return self._run.begin(lambda: self._client.drain(timeout))

    def get_token(self, timeout: float | None = None) -> Future[str]:
        return self._run.begin(lambda: self._client.get_token(timeout))

    def close(self, timeout: float | None = 10.0) -> Future[None]:
        return self._run.begin(lambda: self._client.aclose(timeout))

    def destroy(self) -> None:
        self._run.call(self._client.destroy)

    def stats(self) -> Stats:
        return self._run.call(self._client.stats)


class TrioAdapter(Adapter):
    """``masivo.TrioClient``."""

    name = "trio"

    def start(self) -> None:
        """Start the run."""
        self._run = _Run(self.clock)

    def stop(self) -> None:
        """End the run."""
        self._run.stop()

    def make(
        self, api_key: str, base_url: str, settings: ClientSettings, store: Store | None
    ) -> ClientHandle:
        """See Adapter."""
        client = with_store(TrioClient, store)(api_key, base_url=base_url, **settings)
        self._run.enter(client)
        return _Handle(self._run, client)

    def advanced(self) -> None:
        """See Adapter."""
        self._run.jump()
