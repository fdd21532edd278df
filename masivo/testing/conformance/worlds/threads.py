"""The thread driver under test: every call that waits runs in its own thread."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from masivo import Client
from masivo._sync import clock as clocks
from masivo.testing.conformance.adapter import (
    LIMIT,
    Adapter,
    ClientHandle,
    ClientSettings,
    call_in_thread,
)
from masivo.testing.conformance.worlds.stores import with_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from queue import SimpleQueue

    from masivo._sync.client import Delivery
    from masivo.protocol import FlushResult, SendEventResult, Stats, Store
    from masivo.testing.conformance.clock import VirtualClock

__all__ = ["ThreadsAdapter"]


class _ThreadClock(clocks.Clock):
    """The suite's clock, in the form that the thread driver needs."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def time(self) -> float:
        return self._clock.time()

    def over_by(self, timeout: float) -> float:
        return math.inf

    def sleep(self, bell: SimpleQueue[None], until: float) -> None:
        self._clock.park(bell.get, lambda: bell.put(None), until)

    def wait_for(self, bell: SimpleQueue[None], until: float) -> None:
        self.sleep(bell, until)


class _Sent:
    def __init__(self, clock: VirtualClock, delivery: Delivery) -> None:
        self._clock = clock
        self._delivery = delivery

    def done(self) -> bool:
        return self._delivery.done()

    def outcome(self, timeout: float | None = None) -> Future[SendEventResult]:
        return call_in_thread(self._clock, lambda: self._delivery.result(timeout))


class _Handle(ClientHandle):
    def __init__(self, clock: VirtualClock, client: Client) -> None:
        self._clock = clock
        self._client = client

    def send(self, event: Mapping[str, object]) -> _Sent:
        return _Sent(self._clock, self._client.send_analytics_event(event))

    def flush(self, timeout: float | None = None) -> Future[FlushResult]:
        return call_in_thread(self._clock, lambda: self._client.flush(timeout))

    def drain(self, timeout: float | None = None) -> Future[None]:
        return call_in_thread(self._clock, lambda: self._client.drain(timeout))

    def get_token(self, timeout: float | None = None) -> Future[str]:
        return call_in_thread(self._clock, lambda: self._client.get_token(timeout))

    def close(self, timeout: float | None = 10.0) -> Future[None]:
        return call_in_thread(self._clock, lambda: self._client.close(timeout))

    def destroy(self) -> None:
        self._client.destroy()

    def stats(self) -> Stats:
        return self._client.stats()


class ThreadsAdapter(Adapter):
    """``masivo.Client``."""

    name = "threads"

    def start(self) -> None:
        """Make new sessions use the suite's clock."""
        self._before = set(threading.enumerate())
        clocks.current = _ThreadClock(self.clock)

    def stop(self) -> None:
        """Restore the clock, and wait for the driver's threads."""
        clocks.current = clocks.Clock()
        deadline = time.monotonic() + LIMIT
        while (workers := self._workers()) and time.monotonic() < deadline:
            for worker in workers:
                with suppress(RuntimeError):  # another worker is just starting it
                    worker.join(LIMIT)

    def _workers(self) -> list[threading.Thread]:
        new = set(threading.enumerate()) - self._before
        return [thread for thread in new if thread.name == "masivo"]

    def make(
        self, api_key: str, base_url: str, settings: ClientSettings, store: Store | None
    ) -> ClientHandle:
        """See Adapter."""
        return _Handle(
            self.clock, with_store(Client, store)(api_key, base_url=base_url, **settings)
        )

    def advanced(self) -> None:
        """Nothing: the threads wait in the clock itself."""
