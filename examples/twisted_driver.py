"""A masivo driver for Twisted: everything runs in the reactor, and waits are Deferreds.

::

    client = Client(configure(environ=os.environ), reactor)
    client.send({"type": "ADD_TO_CART", "customer_id": "c-1", "brand_id": None})
    result = await client.flush()

Events are sent in the background. ``send`` returns a delivery: drop it, ``await`` it, or take a
Deferred from its ``result()``, any number of times. (It is not a Deferred itself: a Deferred serves
one consumer, whose callbacks change its result, and a dropped one that failed would log a traceback
for each event, where masivo logs one line for all.) To deliver the remaining events when the
reactor stops::

    reactor.addSystemEventTrigger("before", "shutdown", client.close)

Call everything in the reactor's thread. https needs ``twisted[tls]``. To keep connections, pass an
``Agent`` with your own ``HTTPConnectionPool`` (and ``retryAutomatically`` off).

It is written only on ``masivo.protocol``, whose numbered loop the comments follow.
"""

import logging
import time
from collections.abc import Generator, Mapping
from functools import partial
from io import BytesIO
from random import Random
from typing import Any, ClassVar, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Cooperator
from twisted.web import client as web
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from masivo import protocol
from masivo.protocol import Awaited, Failed, FlushResult, SendEventResult, TicketValue

T = TypeVar("T")
waiters = protocol.Waiters()


def wait(awaited: Awaited[T]) -> Deferred[T]:
    """A Deferred of what a delivery or a ticket brings; cancel it to give up."""
    ready: Deferred[object] = Deferred(lambda _: waiters.discard(awaited, wake))
    wake = partial(ready.callback, None)
    if awaited.claim() is None:
        waiters.add(awaited, wake)
    else:
        wake()
    return ready.addCallback(lambda _: protocol.unwrap(cast("T | Failed", awaited.claim())))


class Delivery(protocol.Delivery, gc=False, eq=False):
    """What became, or will become, of one event; can be awaited."""

    def result(self) -> Deferred[SendEventResult]:
        """A new Deferred of the result, or of the MasivoError that ended the event."""
        return wait(self)

    def __await__(self) -> Generator[Any, None, SendEventResult]:
        return self.result().__await__()


class Session(protocol.Engine):
    """One key's engine in a reactor. Clients of the key share it, and so their token."""

    # 1. An engine, on the reactor's clock.

    def __init__(self, account: protocol.Account, reactor: Any, agent: Any) -> None:
        super().__init__(
            account, clock=reactor.seconds, wall_clock=time.time, random=Random(), wake=self.ring
        )
        self.reactor, self.agent, self.timer, self.rung = reactor, agent, None, False
        self.out: list[Deferred[None]] = []
        self.cooperator: Any = Cooperator(scheduler=lambda tick: reactor.callLater(0, tick))

    def ring(self) -> None:
        """Have ``step`` called soon; may be called from anywhere."""
        if not self.rung:
            self.rung = True
            self.reactor.callFromThread(self.step)

    # 3 to 6. Poll, start the requests, settle, see to the next time.

    def step(self) -> None:
        """Do what is due."""
        self.rung = False
        output = self.poll()
        self.out = [exchange for exchange in self.out if not exchange.called]
        for request in output.requests:
            exchange = Deferred.fromCoroutine(self.carry_out(request))
            self.out.append(exchange.addTimeout(request.timeout, self.reactor))  # cancels it
        for work in output.storage:  # none without a store
            self.reactor.callInThread(self.work_and_ring, work)
        protocol.settle(output, logging.getLogger("masivo"), waiters)
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        if output.wake_at is not None:
            self.timer = self.reactor.callLater(max(0.0, output.wake_at - self.clock()), self.ring)
        for exchange in self.out if output.closed else ():  # 7. No caller waits for them.
            exchange.cancel()

    def work_and_ring(self, work: protocol.StoreWork) -> None:
        """Do work on a store, in a thread: the reactor does not wait for disks."""
        self.do_work(work)
        self.ring()

    async def carry_out(self, request: protocol.Request) -> None:
        """Send a request and hand back what became of it; a cancellation too is a Failure."""
        result: Any = protocol.Failure("the request was interrupted", sent=True)
        status = None
        try:
            method, url = request.method.encode(), request.url.encode()
            headers: Any = Headers({name: [value] for name, value in request.headers})
            body = cast("Any", web.FileBodyProducer)(BytesIO(request.body), self.cooperator)
            body = body if request.body else None
            response = await self.agent.request(method, url, headers, body)
            status = response.code  # before the body: from a 2xx on, nothing is repeated
            receiver, raw = Receiver(), response.headers.getAllRawHeaders()
            headers = {str(name, "latin-1").lower(): str(all_[-1], "latin-1") for name, all_ in raw}
            response.deliverBody(receiver)
            result = protocol.Response(status, headers, await receiver.body)
            if "content-encoding" in headers:
                result = protocol.Failure("the answer is encoded", True, status)
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            sent = not isinstance(error, ConnectError | ConnectingCancelledError | DNSLookupError)
            result = protocol.Failure(f"the request failed: {error!r}", sent, status, error)
        finally:
            self.hand_back(request.id, result)
            self.ring()


class Receiver(Protocol):
    """Collects the body of an answer, of up to MAX_BODY bytes; cancelling it closes the
    connection."""

    transport: Any = None

    def __init__(self) -> None:
        self.body: Deferred[bytes] = Deferred(lambda _: self.transport.loseConnection())
        self.parts = bytearray()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.parts += data
        if len(self.parts) > protocol.MAX_BODY:
            self.body.cancel()

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        if not self.body.called and reason.check(web.ResponseDone, PotentialDataLoss):
            self.body.callback(bytes(self.parts))
        elif not self.body.called:
            self.body.errback(reason)


class Client:
    """Sends events; ``masivo.protocol.configure`` makes the settings."""

    sessions: ClassVar[dict[tuple[Any, protocol.Account], Session]] = {}

    def __init__(
        self,
        settings: protocol.Settings,
        reactor: Any,
        agent: Any = None,
        store: protocol.Store | None = None,
    ) -> None:
        key, agent = (reactor, settings.account), agent or cast("Any", web.Agent)(reactor)
        session = self.sessions.get(key)
        if session is None or not session.attached:
            session = self.sessions[key] = Session(settings.account, reactor, agent)
        self.session, self.buffer = session, session.attach(settings, Delivery, store=store)

    # 2. Inputs.

    def send(self, event: Mapping[str, object]) -> Delivery:
        """Take an event. Never waits."""
        return cast("Delivery", self.buffer.send(event))

    def flush(self, timeout: float | None = None) -> Deferred[FlushResult]:
        """Send what is buffered; fires when every event so far has its outcome."""
        return self.wait(self.buffer.flush(), timeout)

    def drain(self, timeout: float | None = None) -> Deferred[TicketValue]:
        """Fires when there is room for a batch; meanwhile batches go out at once."""
        return self.wait(self.buffer.drain(), timeout)

    def get_token(self, timeout: float | None = None) -> Deferred[str]:
        """The bearer token; authorizes first if need be."""
        return self.wait(self.buffer.token(), timeout)

    def close(self, timeout: float | None = 10.0) -> Deferred[TicketValue]:
        """Flush, then detach; what is undelivered after ``timeout`` seconds fails."""
        return self.wait(self.buffer.close(protocol.wait_limit(timeout)), None)

    def wait(self, ticket: Awaited[T], timeout: float | None) -> Deferred[T]:
        """A Deferred of what a ticket brings; fails with TimeoutError after ``timeout`` s."""
        self.session.ring()
        deferred, limit = wait(ticket), protocol.wait_limit(timeout)

        def gave_up(failure: Any, after: float) -> Any:
            self.buffer.cancel(ticket)
            self.session.ring()
            raise TimeoutError("there is no outcome yet; the events stay pending")

        if limit is not None:
            deferred.addTimeout(limit, self.session.reactor, gave_up)
        return deferred
