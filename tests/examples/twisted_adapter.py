"""The Twisted driver under test: a reactor in a thread of its own, whose time is the suite's."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.selectreactor import SelectReactor
from twisted.web.client import Agent
from twisted_driver import Client

from masivo.protocol import Secret, configure
from masivo.testing.conformance import Adapter, ClientHandle, ClientSettings
from masivo.testing.conformance.adapter import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred
    from twisted_driver import Delivery

    from masivo.protocol import FlushResult, SendEventResult, Stats, Store
    from masivo.testing.conformance import VirtualClock

T = TypeVar("T")

# Without types of their own.
Agents: Any = Agent
Endpoints: Any = TCP4ClientEndpoint


class VirtualReactor(SelectReactor):
    """A reactor in virtual time: it waits for sockets, and never for time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        cast("Any", super()).__init__()

    def seconds(self) -> float:
        """Seconds on the suite's clock."""
        return self._clock.monotonic()

    def timeout(self) -> float | None:
        """How long to wait for sockets: not at all, or until there is something."""
        pause: Any = cast("Any", super()).timeout()
        return pause if pause is not None and pause <= 0 else None


class DirectEndpoints:
    """Connects to the address that is named: the usual way tries others too, and takes a pause
    between them, for which no time passes here."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: Any) -> Any:  # noqa: N802
        """See IAgentEndpointFactory."""
        return Endpoints(self._reactor, uri.host.decode(), uri.port)


class RunningReactor:
    """A reactor that runs in a thread of its own, as seen from others."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._thread = threading.Thread(target=self._run, name="conformance-twisted", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.reactor.run(installSignalHandlers=False)
        self.reactor.removeAll()

    def stop(self) -> None:
        """End the reactor."""
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(LIMIT)

    def wake(self) -> None:
        """Have the reactor look at the time."""
        self.reactor.callFromThread(int)

    def call(self, function: Callable[[], T]) -> T:
        """Call a plain function in the reactor's thread."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self.reactor.callFromThread(run)
        return future.result(LIMIT)

    def begin(self, function: Callable[[], Deferred[Any]]) -> Future[Any]:
        """Begin a call that gives a Deferred; returns when it waits, or has ended."""
        future: Future[Any] = Future()

        def failed(failure: Any) -> None:
            future.set_exception(failure.value)

        def begin() -> None:
            try:
                function().addCallbacks(future.set_result, failed)
            except Exception as error:
                future.set_exception(error)

        self.call(begin)
        return future


class _Sent:
    def __init__(self, running: RunningReactor, delivery: Delivery) -> None:
        self._running = running
        self._delivery = delivery

    def done(self) -> bool:
        return self._delivery.done()

    def outcome(self, timeout: float | None = None) -> Future[SendEventResult]:
        def wait() -> Deferred[SendEventResult]:
            deferred = self._delivery.result()
            if timeout is not None:
                deferred.addTimeout(timeout, self._running.reactor, _gave_up)
            return deferred

        return self._running.begin(wait)


def _gave_up(_failure: Any, _timeout: float) -> Any:
    raise TimeoutError


class _Handle(ClientHandle):
    def __init__(self, running: RunningReactor, client: Client) -> None:
        self._running = running
        self._client = client

    def send(self, event: Mapping[str, object]) -> _Sent:
        delivery = self._running.call(lambda: self._client.send(event))
        return _Sent(self._running, delivery)

    def flush(self, timeout: float | None = None) -> Future[FlushResult]:
        return self._running.begin(lambda: self._client.flush(timeout))

    def drain(self, timeout: float | None = None) -> Future[None]:
        return self._running.begin(lambda: self._client.drain(timeout))

    def get_token(self, timeout: float | None = None) -> Future[str]:
        return self._running.begin(lambda: self._client.get_token(timeout))

    def close(self, timeout: float | None = 10.0) -> Future[None]:
        return self._running.begin(lambda: self._client.close(timeout))

    def destroy(self) -> None:
        def destroy() -> None:
            self._client.buffer.destroy()
            self._client.session.ring()

        self._running.call(destroy)

    def stats(self) -> Stats:
        return self._running.call(self._client.buffer.stats)


class TwistedAdapter(Adapter):
    """``examples/twisted_driver.py``."""

    name = "twisted"

    def start(self) -> None:
        """Start a reactor."""
        self._running = RunningReactor(VirtualReactor(self.clock))

    def stop(self) -> None:
        """End it."""
        self._running.stop()

    def make(
        self, api_key: str, base_url: str, settings: ClientSettings, store: Store | None
    ) -> ClientHandle:
        """See Adapter."""
        checked = configure(Secret(api_key), base_url=base_url, **settings)
        reactor = self._running.reactor
        agent = Agents.usingEndpointFactory(reactor, DirectEndpoints(reactor))
        client = self._running.call(lambda: Client(checked, reactor, agent, store))
        return _Handle(self._running, client)

    def advanced(self) -> None:
        """See Adapter."""
        self._running.wake()
