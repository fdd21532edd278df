"""A masivo driver on the standard library alone, with no thread: it works when it is called.

Use it where a process ends, or is frozen, as soon as your code returns: a cron job, a command, an
AWS Lambda. A background thread gets no time there, and its events are lost. This driver works only
inside calls: each call does all the work that is due (a full batch is sent from inside ``send``),
and the rest waits for the next call. So call ``flush()`` before you return, and keep the client,
and so its token, for the next invocation::

    client = Client(configure(environ=os.environ))

    def handler(event, context):
        client.send({"type": "ADD_TO_CART", "customer_id": "c-1", "brand_id": None})
        client.flush(timeout=5)

If a process lives on between events, ``masivo.Client`` is the better choice: sending never waits
for the network.

It is written only on ``masivo.protocol``, whose numbered loop the comments follow; the page
``docs/how-to/writing-a-driver.md`` leads through it. Use a client from one thread.
"""

import logging
import math
import random
import time
from collections.abc import Mapping
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any, ClassVar, TypeVar
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from masivo import protocol
from masivo.protocol import Awaited, Failure, Response

T = TypeVar("T")


class Session(protocol.Engine):
    """One key's engine and the code that drives it. Clients of the key share it, and its token."""

    sleep = staticmethod(time.sleep)

    # 1. An engine. Its ``wake`` does nothing: the next pump sees every input.

    def __init__(self, account: protocol.Account, clock: protocol.Clock = time.monotonic) -> None:
        dice = random.Random()
        super().__init__(account, clock=clock, wall_clock=time.time, random=dice, wake=lambda: None)
        self.http, self.pumping = Http(account.base_url), False
        self.todo: list[protocol.Request] = []

    # 3 to 5. Poll, settle, carry out the requests.

    def pump(self, until: float = math.inf, cut_at: float = math.inf) -> float:
        """Do what is due. Call it now and then if you do not send for long.

        Args:
            until: when to stop beginning requests, on the clock, which is ``time.monotonic``.
            cut_at: when to cut a request short.

        Returns:
            When to call it again; infinity if nothing is due before the next event.

        Raises:
            RuntimeError: called from ``on_error``.
        """
        if self.pumping:
            raise RuntimeError("not from inside on_error: this would wait for itself")
        self.pumping = True
        try:
            while True:
                output = self.poll()
                protocol.settle(output, logging.getLogger("masivo"))
                # 7. Once it is closed, nothing waits for a response.
                self.todo = [] if output.closed else self.todo + output.requests
                for work in output.storage:  # none without a store
                    self.do_work(work)
                if output.storage:
                    continue  # even when time is over: a store must not be left half done
                if self.clock() >= until or not (self.todo or self.pending):
                    return math.inf if output.wake_at is None else output.wake_at
                if self.todo:
                    request = self.todo.pop(0)
                    result: Response | Failure = Failure("the request was interrupted", sent=True)
                    try:
                        limit = min(request.timeout, cut_at - self.clock())
                        result = self.http.send(request, limit)
                    finally:  # even after a KeyboardInterrupt: else its events would hang
                        self.hand_back(request.id, result)
        finally:
            self.pumping = False

    # 6. Wait.

    def wait(self, what: Awaited[T], timeout: float | None = None, cut_at: float = math.inf) -> T:
        """Pump until a delivery or a ticket has its outcome. Raises its error, or TimeoutError.

        Args:
            what: a delivery or a ticket.
            timeout: seconds, after which no request is begun; None for as long as it takes.
            cut_at: when to cut a request short, as for ``pump``.
        """
        limit, wake_at = protocol.wait_limit(timeout), 0.0
        until = math.inf if limit is None else self.clock() + limit
        with protocol.Waiters().waiting(what, lambda: None):  # tells the engine of a waiter
            while (outcome := what.claim()) is None:
                self.sleep(max(0.0, min(wake_at, until) - self.clock()))
                wake_at = self.pump(min(until, cut_at), cut_at)
                if self.clock() >= until and what.claim() is None:
                    raise TimeoutError("there is no outcome yet; the events stay pending")
        return protocol.unwrap(outcome)


class Client:
    """Sends events; ``masivo.protocol.configure`` makes the settings.

    Any call may wait for the network: for each request that is due, up to the ``timeout`` of the
    settings, and as long as the look-up of its host takes. Set ``timeout`` to what you can spare.
    After their own timeout, ``flush``, ``drain``, ``get_token`` and ``wait`` begin no further
    request. A request that has begun runs to its end: if it were cut short, it would be sent
    again. ``close`` does cut it short.
    """

    sessions: ClassVar[dict[protocol.Account, Session]] = {}

    def __init__(
        self,
        settings: protocol.Settings,
        kind: type[Session] = Session,
        store: protocol.Store | None = None,
    ) -> None:
        session = self.sessions.get(settings.account)
        if session is None or not session.attached:
            session = self.sessions[settings.account] = kind(settings.account)
        self.session, self.buffer = session, session.attach(settings, store=store)
        self.pump = session.pump

    # 2. Inputs.

    def send(self, event: Mapping[str, object]) -> protocol.Delivery:
        """Take an event; ``wait`` for the delivery, or ``flush``, to learn what became of it."""
        delivery = self.buffer.send(event)
        if not self.session.pumping:  # else: on_error or a signal handler called send in a pump
            self.pump()
        return delivery

    def wait(self, what: Awaited[T], timeout: float | None = None) -> T:
        """The result of a delivery. Raises the error that ended the event, or TimeoutError."""
        try:
            return self.session.wait(what, timeout)
        finally:  # a flush or a drain that was given up
            self.buffer.cancel(what)

    def flush(self, timeout: float | None = None) -> protocol.FlushResult:
        """Send what is buffered, and return when every event so far has its outcome."""
        return self.wait(self.buffer.flush(), timeout)

    def drain(self, timeout: float | None = None) -> None:
        """Send until there is room for a batch."""
        self.wait(self.buffer.drain(), timeout)

    def get_token(self, timeout: float | None = None) -> str:
        """The bearer token; authorizes first if need be."""
        return self.wait(self.buffer.token(), timeout)

    def close(self, timeout: float | None = 10.0) -> None:
        """Flush, then detach; what is undelivered after ``timeout`` seconds fails."""
        # Begins no request. If ``close`` is called from inside ``on_error``, this raises, and the
        # client stays open.
        self.pump(until=0.0)
        limit = protocol.wait_limit(timeout)
        cut_at = math.inf if limit is None else self.session.clock() + limit
        self.session.wait(self.buffer.close(limit), cut_at=cut_at)


class Http(HTTPHandler, HTTPSHandler):
    """Sends requests, one at a time: no redirect is followed, and no status is an exception."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._opener = OpenerDirector()  # `build_opener` would add handlers that follow redirects
        self._opener.add_handler(ProxyHandler({} if protocol.is_loopback(base_url) else None))
        self._opener.add_handler(self)

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(Connection, self), req)

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(SecureConnection, self), req)

    def send(self, request: protocol.Request, timeout: float) -> Response | Failure:
        """Carry out a request within ``timeout`` seconds. Whatever goes wrong is a Failure."""
        self.deadline, self.sent, status = time.monotonic() + timeout, False, None
        body, headers = request.body or None, dict(request.headers)
        outgoing = Request(request.url, body, headers, method=request.method)
        try:
            with self._opener.open(outgoing, timeout=max(timeout, 0.001)) as response:
                status = response.status  # before the body: after a 2xx nothing is retried
                body = response.read(protocol.MAX_BODY + 1)
                headers = {name.lower(): value for name, value in response.headers.items()}
            if response.length or len(body) > protocol.MAX_BODY or "content-encoding" in headers:
                return Failure("the response is cut off, too large, or encoded", True, status)
            return Response(status, headers, body)
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            return Failure(f"the request failed: {error!r}", self.sent, status, error)


class Connection(HTTPConnection):
    """Bounds all but the look-up of the host by the deadline of the request."""

    def __init__(self, http: Http, host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self._http = http
        self.response_class = partial(timed_response, http.deadline)  # type: ignore[assignment]

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(max(self._http.deadline - time.monotonic(), 0.001))
        self._http.sent = True


class SecureConnection(Connection, HTTPSConnection):
    """The same over TLS."""


def timed_response(deadline: float, sock: Any, **options: Any) -> HTTPResponse:
    """A response whose reads share the time that is left: a socket's timeout restarts with every
    byte that arrives."""
    response = HTTPResponse(sock, **options)

    def timed(buffer: Any, readinto: Any = response.fp.raw.readinto) -> Any:
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        return readinto(buffer)

    setattr(response.fp.raw, "readinto", timed)  # noqa: B010
    return response
