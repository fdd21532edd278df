"""A masivo driver on the standard library alone, with no thread: it works when it is called.

Use it where a process ends, or is frozen, as soon as your code returns: a cron job, a command, an
AWS Lambda. A background thread gets no time there, and what it holds is lost. Here nothing
happens behind your back: every call takes the work as far as it will go (a full batch goes out
from inside ``send``), and the rest waits for the next call. So call ``flush()`` before you
return, and keep the client for the next invocation, which then finds its token there already::

    client = Client(configure(environ=os.environ))

    def handler(event, context):
        client.send({"type": "ADD_TO_CART", "customer_id": "c-1", "brand_id": None})
        client.flush(timeout=5)

Where a process lives on between events, ``masivo.Client`` is the better choice: its ``send``
never waits for the network.

It is written only on ``masivo.protocol``, whose numbered loop the comments follow; the page
``docs/writing-a-driver.md`` leads through it. Use a client from one thread.
"""

import logging
import math
import random
import time
import urllib.request
from collections.abc import Mapping
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any, TypeVar

from masivo import protocol
from masivo.protocol import MAX_BODY, Engine, Failure, Request, Response

T = TypeVar("T")


class Client:
    """Sends events; ``masivo.protocol.configure`` makes the settings.

    Any call may wait for the network, for up to the ``timeout`` of the settings for each request
    that is due. A limit of ``flush``, ``drain``, ``get_token`` or ``wait`` begins no request once
    it is over, but does not cut one short, as that would be sent again: set ``timeout`` to what
    you can spare. The limit of ``close`` does.
    """

    def __init__(self, settings: protocol.Settings) -> None:
        # 1. An engine for the key, and this client attached to it. Nobody has to be woken: what
        # comes in is seen by the next pump, or by the one that runs.
        clocks = {"clock": time.monotonic, "wall_clock": time.time}
        self.engine = Engine(settings.account, **clocks, random=random.Random(), wake=lambda: None)
        self.buffer = self.engine.attach(settings)
        self._http = Http(settings.account.base_url)
        self._todo: list[Request] = []
        self._cut_at = math.inf
        self._pumping = False

    # 2. Inputs.

    def send(self, event: Mapping[str, object]) -> protocol.Delivery:
        """Take an event; ``wait`` for the delivery, or ``flush``, to learn what became of it."""
        delivery = self.buffer.send(event)
        if not self._pumping:  # else on_error or a signal handler sends; the pump goes on after it
            self.pump()
        return delivery

    def flush(self, timeout: float | None = None) -> protocol.FlushResult:
        """Send what is buffered, and return when every event so far has its outcome."""
        return self.wait(self.buffer.flush(), timeout)

    def drain(self, timeout: float | None = None) -> None:
        """Send until there is room for a batch."""
        ticket = self.buffer.drain()
        try:
            self.wait(ticket, timeout)
        finally:
            self.buffer.cancel(ticket)

    def get_token(self, timeout: float | None = None) -> str:
        """The bearer token; authorizes first if need be."""
        return self.wait(self.buffer.token(), timeout)

    def close(self, timeout: float | None = 10.0) -> None:
        """Flush, then detach; what is undelivered after ``timeout`` seconds fails."""
        self.pump(until=0.0)  # refuses, inside on_error, before the client is closed
        self._cut_at = deadline(timeout)
        self.wait(self.buffer.close(protocol.wait_limit(timeout)))

    # 3 to 5. Poll, start the requests, settle.

    def pump(self, until: float = math.inf) -> float:
        """Do what is due. Call it now and then if you do not send for long.

        Args:
            until: when to begin no more requests.

        Returns:
            When there is something to do again, like ``until`` by ``time.monotonic()``; infinity
            for not before the next event.
        """
        if self._pumping:
            raise RuntimeError("not from inside on_error: this would wait for itself")
        self._pumping = True
        try:
            while True:
                output = self.engine.poll()
                protocol.settle(output, logging.getLogger("masivo"))
                # 7. Once it is closed, nobody waits for an answer any more.
                self._todo = [] if output.closed else self._todo + output.requests
                if time.monotonic() >= until or not (self._todo or self.engine.pending):
                    return math.inf if output.wake_at is None else output.wake_at
                if self._todo:
                    self._carry_out(self._todo.pop(0))
        finally:
            self._pumping = False

    def _carry_out(self, request: Request) -> None:
        result: Response | Failure = Failure("the request was interrupted", sent=True)
        try:
            result = self._http.send(request, min(request.timeout, self._cut_at - time.monotonic()))
        finally:  # after a KeyboardInterrupt, too: no batch is lost
            self.engine.hand_back(request.id, result)

    # 6. Wait.

    def wait(self, awaited: protocol.Awaited[T], timeout: float | None = None) -> T:
        """Pump until a delivery or a ticket has its outcome. Raises its error, or TimeoutError."""
        until, wake_at = deadline(timeout), 0.0
        while (outcome := awaited.ask()) is None:
            time.sleep(max(0.0, min(wake_at, until) - time.monotonic()))
            wake_at = self.pump(until)
            if time.monotonic() >= until and awaited.ask() is None:
                raise TimeoutError("there is no outcome yet; the events stay on their way")
        return protocol.unwrap(outcome)


def deadline(timeout: float | None) -> float:
    """When a call's timeout is over."""
    limit = protocol.wait_limit(timeout)
    return math.inf if limit is None else time.monotonic() + limit


class Http(urllib.request.AbstractHTTPHandler):
    """Sends requests, one at a time: no redirect is followed, and no status is an exception."""

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, base_url: str) -> None:
        super().__init__()
        # `build_opener` would add handlers that follow redirects.
        self._opener = urllib.request.OpenerDirector()
        self._opener.add_handler(self)
        if not protocol.is_loopback(base_url):
            self._opener.add_handler(urllib.request.ProxyHandler())  # of the environment

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(partial(Connection, self), request)

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(partial(SecureConnection, self), request)

    def send(self, request: Request, timeout: float) -> Response | Failure:
        """Carry out a request within ``timeout`` seconds. Whatever goes wrong is a Failure."""
        self.deadline, self.sent, status = time.monotonic() + timeout, False, None
        outgoing = urllib.request.Request(
            request.url, request.body or None, dict(request.headers), method=request.method
        )
        try:
            with self._opener.open(outgoing, timeout=max(timeout, 0.001)) as response:
                status = response.status  # before the body: from a 2xx on, nothing is repeated
                body = response.read(MAX_BODY + 1)
                headers = {name.lower(): value for name, value in response.headers.items()}
            if response.length or len(body) > MAX_BODY or "content-encoding" in headers:
                return Failure("the answer is cut off, too large, or encoded", True, status)
            return Response(status, headers, body)
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            cause = getattr(error, "reason", error)  # what a URLError wraps
            return Failure(f"the request failed: {cause!r}", self.sent, status, error)


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
    """A response each of whose reads is given what is left of the time: else it begins anew with
    every byte that arrives."""
    response = HTTPResponse(sock, **options)
    raw: Any = response.fp.raw
    readinto = raw.readinto

    def timed(buffer: Any) -> Any:
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        return readinto(buffer)

    raw.readinto = timed
    return response
