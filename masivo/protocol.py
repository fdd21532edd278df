"""The core of masivo for people who write their own driver.

The core is a state machine that does no I/O. It needs you for three things: to carry out its
requests (HTTP, and work on a store if you give it one), to poll it at the time that it names, and
to hand outcomes to waiters. How to call it:

1. Make one ``Engine`` per ``Account``, with your clock and a ``wake`` function. Attach each client
   of the account with ``Engine.attach``, which gives its ``Buffer``; ``configure`` makes the
   settings. Clients share a token by sharing an engine.
2. Feed inputs: ``buffer.send(event)``, ``buffer.flush()``, ``buffer.drain()``, ``buffer.token()``,
   ``buffer.close(timeout)``, ``buffer.destroy()``, ``buffer.cancel(ticket)`` (for a flush or a
   drain that was given up); ``engine.hand_back(id, result)``. These calls may come from
   anywhere, a signal handler or a finalizer included. They never wait, except that ``send``
   writes the event to the client's store, if it has one. ``send`` calls ``wake`` when a poll is
   needed; after any other input, poll.
3. Call ``Engine.poll``, never twice at the same time. It returns an ``Output``: all that is due,
   and nothing twice.
4. Start the output's ``requests``. Hand back one result for each: a ``Response``, whatever its
   status, or a ``Failure``, whatever your HTTP library raises. If an exception slips past, an event
   hangs. Send the headers as they are, with ``Host`` and ``Content-Length``; never follow a
   redirect; read at most ``MAX_BODY`` bytes (``read_body`` takes gzip off); bound each request by
   ``request.timeout``, from connecting to the last byte. If a response breaks off after its
   headers, give its status to the Failure: after a 2xx the batch is not sent again. Call
   ``Engine.do_work`` with each item of the output's ``storage``, on a thread that may block; it
   hands the result back. There is no such work unless you give a ``store`` to ``Engine.attach``,
   such as ``masivo.spool.Spool``.
5. Call ``settle`` with each output, in order and outside every lock: it wakes your ``Waiters``,
   logs, calls ``on_activity`` and ``on_error``, and last gives each CloseTicket its outcome. A call
   from inside ``on_activity`` or ``on_error`` that would wait for your driver must raise a
   RuntimeError.
6. Wait until ``wake_at`` (on your clock; None: until an input), or until ``wake`` is called, or a
   response arrives. Then go to 3. Polling too early or too often is harmless.
7. When ``closed`` is True, the last client has detached. Cancel the requests that are still out: no
   caller waits for them. Drop the engine; the next client of the key gets a new one.

A waiter claims its delivery or ticket: ``claim()`` returns None until there is an outcome, and
``unwrap`` returns its value, or raises its error.

``masivo.testing.conformance`` tests whether a driver does all this; ``examples/`` has two, and
``docs/how-to/writing-a-driver.md`` leads through one of them.
"""

from ._protocol.batches.flushes import FlushTicket
from ._protocol.buffer import Buffer
from ._protocol.delivery import (
    Awaited,
    Claim,
    CloseTicket,
    Delivery,
    DeliveryType,
    Failed,
    NotCopied,
    Origin,
    Outcome,
    Ticket,
    TicketValue,
    TokenTicket,
    unwrap,
)
from ._protocol.engine import Engine
from ._protocol.json import Json
from ._protocol.output import ErrorCall, Logger, Output, Settled
from ._protocol.reporting.activity import (
    Activity,
    AuthorizationSent,
    BatchHalved,
    BatchSent,
    BatchSettled,
    CallWaits,
    ClientReleased,
    EventsAdopted,
    EventsFailed,
    EventsQueued,
    EventsSpooled,
    FlushEnded,
    Idle,
    KeyRefused,
    LongHold,
    OnActivity,
    RenewalFailed,
    RequestAbandoned,
    RequestFailed,
    ResponseReceived,
    RetryScheduled,
    TimerFired,
    TokenGranted,
    TokenRevoked,
)
from ._protocol.settings import (
    Account,
    ClientOptions,
    Secret,
    Settings,
    configure,
    is_loopback,
    wait_limit,
)
from ._protocol.settle import Waiters, settle
from ._protocol.storage.store import (
    Note,
    Noted,
    Place,
    RejectedEvent,
    Store,
    Stored,
    StoredLog,
    StoreError,
    Window,
)
from ._protocol.storage.work import StoreDone, StoreWork
from ._protocol.values import (
    MAX_BODY,
    BeforeSend,
    Clock,
    FailedEvent,
    Failure,
    FlushResult,
    OnError,
    RandomSource,
    Request,
    Response,
    SendEventResult,
    Stats,
)
from ._protocol.wire.api import Api
from ._protocol.wire.bodies import read_body

__all__ = [
    "Account",
    "Activity",
    "Api",
    "AuthorizationSent",
    "Awaited",
    "BatchHalved",
    "BatchSent",
    "BatchSettled",
    "BeforeSend",
    "Buffer",
    "CallWaits",
    "Claim",
    "ClientOptions",
    "ClientReleased",
    "Clock",
    "CloseTicket",
    "Delivery",
    "DeliveryType",
    "Engine",
    "ErrorCall",
    "EventsAdopted",
    "EventsFailed",
    "EventsQueued",
    "EventsSpooled",
    "Failed",
    "FailedEvent",
    "Failure",
    "FlushEnded",
    "FlushResult",
    "FlushTicket",
    "Idle",
    "Json",
    "KeyRefused",
    "Logger",
    "LongHold",
    "MAX_BODY",
    "NotCopied",
    "Note",
    "Noted",
    "OnActivity",
    "OnError",
    "Origin",
    "Outcome",
    "Output",
    "Place",
    "RandomSource",
    "RejectedEvent",
    "RenewalFailed",
    "Request",
    "RequestAbandoned",
    "RequestFailed",
    "Response",
    "ResponseReceived",
    "RetryScheduled",
    "Secret",
    "SendEventResult",
    "Settings",
    "Settled",
    "Stats",
    "Store",
    "StoreDone",
    "StoreError",
    "StoreWork",
    "Stored",
    "StoredLog",
    "Ticket",
    "TicketValue",
    "TimerFired",
    "TokenGranted",
    "TokenRevoked",
    "TokenTicket",
    "Waiters",
    "Window",
    "configure",
    "is_loopback",
    "read_body",
    "settle",
    "unwrap",
    "wait_limit",
]
