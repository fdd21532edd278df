"""The urllib driver under test: it has no thread, and sends one request at a time.

The suite pumps it, on a thread of its own. A call that waits pumps too, by its nature; here it
leaves that to the suite, so that the suite decides when a request goes out, and only looks.
"""

from __future__ import annotations

import math
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from urllib_driver import Client, Session

from masivo.protocol import Secret, configure
from masivo.testing.conformance import Adapter, ClientHandle, ClientSettings, call_in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from masivo.protocol import Account, Delivery, FlushResult, SendEventResult, Stats, Store
    from masivo.testing.conformance import VirtualClock


class Pumping:
    """Who pumps, and who sleeps until somebody has."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pumper: int | None = None
        self._count = 0
        self._seen = threading.local()
        self._sleeping: set[SimpleQueue[None]] = set()

    def begin(self) -> None:
        """The calling thread pumps."""
        self._pumper = threading.get_ident()

    def end(self) -> None:
        """It has pumped: have those who sleep look again."""
        with self._lock:
            self._pumper = None
            self._count += 1
            for bell in self._sleeping:
                bell.put(None)

    def is_mine(self) -> bool:
        """Whether the calling thread pumps; if not, it is told of every pump from now on."""
        self._seen.count = self._count
        return self._pumper == threading.get_ident()

    def sleep(self, seconds: Any) -> None:
        """Sleep, or until somebody has pumped."""
        bell: SimpleQueue[None] = SimpleQueue()
        with self._lock:
            if seconds <= 0 or self._seen.count != self._count:
                return
            self._sleeping.add(bell)
        until = self._clock.monotonic() + seconds
        self._clock.park(bell.get, lambda: bell.put(None), until)
        with self._lock:
            self._sleeping.discard(bell)


class _Sent:
    def __init__(self, clock: VirtualClock, client: Client, delivery: Delivery) -> None:
        self._clock = clock
        self._client = client
        self._delivery = delivery

    def done(self) -> bool:
        return self._delivery.done()

    def outcome(self, timeout: float | None = None) -> Future[SendEventResult]:
        return call_in_thread(self._clock, lambda: self._client.wait(self._delivery, timeout))


class _Handle(ClientHandle):
    def __init__(self, clock: VirtualClock, client: Client) -> None:
        self._clock = clock
        self._client = client

    def send(self, event: Mapping[str, object]) -> _Sent:
        return _Sent(self._clock, self._client, self._client.send(event))

    def flush(self, timeout: float | None = None) -> Future[FlushResult]:
        return call_in_thread(self._clock, lambda: self._client.flush(timeout))

    def drain(self, timeout: float | None = None) -> Future[None]:
        return call_in_thread(self._clock, lambda: self._client.drain(timeout))

    def get_token(self, timeout: float | None = None) -> Future[str]:
        return call_in_thread(self._clock, lambda: self._client.get_token(timeout))

    def close(self, timeout: float | None = 10.0) -> Future[None]:
        return call_in_thread(self._clock, lambda: self._client.close(timeout))

    def destroy(self) -> None:
        self._client.buffer.destroy()

    def stats(self) -> Stats:
        return self._client.buffer.stats()


class UrllibAdapter(Adapter):
    """``examples/urllib_driver.py``."""

    name = "urllib"
    parallel = False
    background = False

    def start(self) -> None:
        """Make the driver's classes for this scenario."""
        clock = self.clock
        self._pumping = pumping = Pumping(clock)

        class VirtualSession(Session):
            """A session in virtual time."""

            sleep = staticmethod(pumping.sleep)

            def __init__(self, account: Account) -> None:
                super().__init__(account, clock.monotonic)

            def pump(self, until: float = math.inf, cut_at: float = math.inf) -> float:
                return super().pump(until, cut_at) if pumping.is_mine() else math.inf

        class VirtualClient(Client):
            """A client whose sessions are those of this scenario."""

            sessions = {}  # noqa: RUF012

        self._session_kind, self._client_kind = VirtualSession, VirtualClient
        self._all: list[Session] = []

    def make(
        self, api_key: str, base_url: str, settings: ClientSettings, store: Store | None
    ) -> ClientHandle:
        """See Adapter."""
        client = self._client_kind(
            configure(Secret(api_key), base_url=base_url, **settings), self._session_kind, store
        )
        if client.session not in self._all:
            self._all.append(client.session)
        return _Handle(self.clock, client)

    def advanced(self) -> None:
        """Nothing: who sleeps waits in the clock itself."""

    def pump(self) -> None:
        """Pump every session."""
        self._pumping.begin()
        try:
            for session in self._all:
                session.pump()
        finally:
            self._pumping.end()
