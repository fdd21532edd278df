"""The simplest driver of ``masivo.protocol``, with which the others are compared.

It is written for the suite, with nothing but the standard library: one thread polls, each request
gets a thread and a connection of its own. It can do without either, to be compared with drivers
that do.
"""

from __future__ import annotations

import http.client
import logging
import random
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from masivo.protocol import (
    MAX_BODY,
    Engine,
    Failed,
    Failure,
    Response,
    Secret,
    Waiters,
    configure,
    settle,
    wait_limit,
)
from masivo.testing.conformance.adapter import LIMIT, Adapter, ClientHandle, ClientSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from masivo.protocol import (
        Account,
        Awaited,
        Buffer,
        Delivery,
        FlushResult,
        Request,
        SendEventResult,
        Stats,
        Store,
        Ticket,
    )
    from masivo.testing.conformance.clock import VirtualClock

__all__ = ["ReferenceAdapter"]


class _Sent:
    def __init__(self, adapter: ReferenceAdapter, delivery: Delivery) -> None:
        self._adapter = adapter
        self._delivery = delivery

    def done(self) -> bool:
        return self._delivery.done()

    def outcome(self, timeout: float | None = None) -> Future[SendEventResult]:
        return self._adapter.wait(self._delivery, timeout)


class _Handle(ClientHandle):
    def __init__(self, adapter: ReferenceAdapter, buffer: Buffer) -> None:
        self._adapter = adapter
        self._buffer = buffer

    def send(self, event: Mapping[str, object]) -> _Sent:
        return _Sent(self._adapter, self._buffer.send(event))

    def flush(self, timeout: float | None = None) -> Future[FlushResult]:
        return self._begin(self._buffer.flush, timeout)

    def drain(self, timeout: float | None = None) -> Future[None]:
        return self._begin(self._buffer.drain, timeout)

    def get_token(self, timeout: float | None = None) -> Future[str]:
        return self._begin(self._buffer.token, timeout)

    def close(self, timeout: float | None = 10.0) -> Future[None]:
        # The engine itself ends it in time.
        return self._begin(lambda: self._buffer.close(wait_limit(timeout)), None)

    def _begin(self, call: Callable[[], Any], timeout: float | None) -> Future[Any]:
        try:
            limit = wait_limit(timeout)
            ticket: Ticket = call()
        except Exception as error:  # noqa: BLE001 (it is the caller's)
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed
        return self._adapter.wait(ticket, limit, lambda: self._buffer.cancel(ticket))

    def destroy(self) -> None:
        self._buffer.destroy()
        self._adapter.wake()

    def stats(self) -> Stats:
        return self._buffer.stats()


class ReferenceAdapter(Adapter):
    """The reference.

    Args:
        clock: the time of this scenario.
        parallel: whether requests are sent beside each other.
        background: whether a thread polls; else it must be pumped.
        storage: whether it takes a store.
    """

    name = "reference"

    def __init__(
        self,
        clock: VirtualClock,
        *,
        parallel: bool = True,
        background: bool = True,
        storage: bool = True,
    ) -> None:
        super().__init__(clock)
        self.parallel = parallel
        self.background = background
        self.storage = storage
        self._engines: dict[Account, Engine] = {}
        self._waiters = Waiters()
        self._lock = threading.Lock()
        self._limits: list[tuple[float, Future[Any], Callable[[], object]]] = []
        self._bell: SimpleQueue[bool] = SimpleQueue()
        self._todo: SimpleQueue[tuple[Engine, Request] | None] = SimpleQueue()
        self._wake_at: float | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads that it has."""
        if self.background:
            self._start(self._poll)
            if not self.parallel:
                self._start(self._send_in_turn)

    def stop(self) -> None:
        """Wait for the threads."""
        self._bell.put(False)
        self._todo.put(None)
        for thread in self._threads:
            thread.join(LIMIT)

    def make(
        self, api_key: str, base_url: str, settings: ClientSettings, store: Store | None
    ) -> ClientHandle:
        """See Adapter."""
        checked = configure(Secret(api_key), base_url=base_url, **settings)
        engine = self._engines.get(checked.account)
        if engine is None or not engine.attached:
            engine = self._engines[checked.account] = Engine(
                checked.account,
                clock=self.clock.monotonic,
                wall_clock=self.clock.time,
                random=random.Random(),
                wake=self.wake,
            )
        return _Handle(self, engine.attach(checked, store=store))

    def advanced(self) -> None:
        """End the calls whose time is over; the polling thread waits in the clock itself."""
        now = self.clock.monotonic()
        over = [each for each in self._limits if each[0] <= now]
        for limit in over:
            self._limits.remove(limit)
            _, future, cancel = limit
            cancel()
            with self._lock:
                if not future.done():
                    future.set_exception(TimeoutError("there is no outcome yet"))
        if over:
            self.wake()

    def wake(self) -> None:
        """Make the polling thread poll the engines."""
        self._bell.put(True)

    def wait(
        self,
        awaited: Awaited[Any],
        timeout: float | None,
        cancel: Callable[[], object] = lambda: None,
    ) -> Future[Any]:
        """Begin to wait for an outcome."""
        future: Future[Any] = Future()

        def resolve() -> None:
            outcome = awaited.claim()
            with self._lock:
                if future.done() or outcome is None:
                    return
                if isinstance(outcome, Failed):
                    future.set_exception(outcome.error.copy())
                else:
                    future.set_result(outcome)
            self.clock.notify()

        self._waiters.add(awaited, resolve)
        resolve()

        def give_up() -> None:
            self._waiters.discard(awaited, resolve)
            cancel()

        if timeout is not None and not future.done():
            self._limits.append((self.clock.monotonic() + timeout, future, give_up))
            if not timeout:
                self.advanced()
        self.wake()
        return future

    # ── The loop of the protocol ─────────────────────────────────────────────────────────────

    def pump(self) -> None:
        """Poll, settle, start requests, until nothing more is to be done."""
        more = True
        while more:
            more = False
            times: list[float] = []
            for engine in list(self._engines.values()):
                output = engine.poll()
                settle(output, logging.getLogger("masivo"), self._waiters)
                if output.wake_at is not None:
                    times.append(output.wake_at)
                for work in output.storage:
                    engine.do_work(work)
                for request in output.requests:
                    self._begin(engine, request)
                more = more or engine.pending
            self._wake_at = min(times, default=None)

    def _begin(self, engine: Engine, request: Request) -> None:
        if self.parallel:
            self._start(lambda: self._carry_out(engine, request))
        elif self.background:
            self._todo.put((engine, request))
        else:
            self._carry_out(engine, request)

    def _poll(self) -> None:
        going_on = True
        while going_on:
            self.pump()
            self.clock.park(self._listen, self.wake, self._wake_at)
            going_on = self._heard
            self._heard = True

    _heard = True

    def _listen(self) -> None:
        self._heard = self._bell.get()

    def _send_in_turn(self) -> None:
        while (item := self._todo.get()) is not None:
            self._carry_out(*item)

    def _carry_out(self, engine: Engine, request: Request) -> None:
        engine.hand_back(request.id, _send(request))
        self.wake()

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name="conformance-reference", daemon=True)
        self._threads.append(thread)
        thread.start()


def _send(request: Request) -> Response | Failure:
    """Send a request over a new connection."""
    url = urlsplit(request.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=request.timeout)
    status: int | None = None
    try:
        connection.putrequest(request.method, url.path, skip_accept_encoding=True)
        for name, text in request.headers:
            connection.putheader(name, text)
        if request.body:
            connection.putheader("content-length", str(len(request.body)))
        connection.endheaders(request.body or None)
        response = connection.getresponse()
        status = response.status
        body = response.read(MAX_BODY + 1)
        if response.length or len(body) > MAX_BODY:
            return Failure("the response is cut off, or too large", sent=True, status=status)
        headers = {name.lower(): text for name, text in response.getheaders()}
        return Response(status, headers, body)
    except (OSError, http.client.HTTPException) as error:
        return Failure(f"the request failed: {error!r}", sent=True, status=status)
    finally:
        connection.close()
