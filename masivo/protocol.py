"""The core of masivo for people who write their own driver.

The core is a state machine that does no I/O. It needs you for three things: to send the HTTP
requests that it asks for, to wake it when it asks to be woken, and to hand outcomes to whoever
waits. How to call it:

1. Make one :class:`Engine` per API key, with your clock and a ``wake`` function; attach a client
   with :meth:`Engine.attach`, which gives its :class:`Buffer`.
2. Feed inputs: ``buffer.send(event)``, ``buffer.flush()``, ``buffer.drain()``, ``buffer.token()``,
   ``buffer.close(timeout)``, ``buffer.destroy()``; ``engine.handle_response(id, response)`` and
   ``engine.handle_failure(id, failure)``. They never wait and may come from anywhere, a signal
   handler or a finalizer included. ``send`` calls ``wake`` when a poll is needed; after any other
   input, poll.
3. Call :meth:`Engine.poll`, in one place at a time. It returns an :class:`Output`, once.
4. Start its ``requests``. Each must come back by ``handle_response`` or ``handle_failure``,
   whatever your HTTP library raises: an exception that slips past is an event that hangs.
   Never follow a redirect, and bound each by ``request.timeout``, from connecting to last byte.
5. Settle: for each of ``settled``, ``delivery.outcome`` is set already; wake who waits for it.
   The same for ``tickets``. Call ``failed_events``, log ``warnings``.
6. Wait until ``wake_at`` (on your clock; None: until an input), or until ``wake`` is called, or
   an answer arrives. Then go to 3. Polling too early or too often is harmless.
7. When ``closed`` is True, the last client has detached, and you may stop.
"""

from ._protocol.buffer import Buffer
from ._protocol.delivery import (
    Answer,
    Awaited,
    Delivery,
    Failed,
    Outcome,
    Ticket,
    TokenTicket,
    unwrap,
)
from ._protocol.engine import Engine
from ._protocol.json import Json
from ._protocol.settings import Account, Api, Secret, Settings, configure, is_loopback, wait_limit
from ._protocol.settle import Logger, Waiters, settle
from ._protocol.tally import FlushTicket
from ._protocol.values import (
    MAX_BODY,
    Clock,
    FailedEvent,
    Failure,
    FlushResult,
    OnError,
    Output,
    RandomSource,
    Request,
    Response,
    SendEventResult,
    Settled,
    Stats,
)

__all__ = [
    "Account",
    "Answer",
    "Api",
    "Awaited",
    "Buffer",
    "Clock",
    "Delivery",
    "Engine",
    "FailedEvent",
    "Failed",
    "Failure",
    "FlushResult",
    "FlushTicket",
    "Json",
    "Logger",
    "MAX_BODY",
    "OnError",
    "Outcome",
    "Output",
    "RandomSource",
    "Request",
    "Response",
    "Secret",
    "SendEventResult",
    "Settings",
    "Settled",
    "Stats",
    "Ticket",
    "TokenTicket",
    "Waiters",
    "configure",
    "is_loopback",
    "settle",
    "unwrap",
    "wait_limit",
]
