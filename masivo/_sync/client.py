"""The client for threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, cast

from masivo import _process, protocol
from masivo._client import NO_ROOM_YET, NOT_ALL_YET, NOT_GRANTED_YET, ClientBase, documented
from masivo._guesses import Advised, public_names
from masivo._http import HttpClient, ThreadSender, opener_of
from masivo.protocol import Failed, unwrap, wait_limit

from . import session as sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from masivo import AnalyticsEvent, MasivoError
    from masivo.protocol import Buffer, FlushResult, SendEventResult, Ticket

    from .session import Session

__all__ = ["Client", "Delivery"]


class Delivery(protocol.Delivery, Advised, gc=False, eq=False):
    """The handle of one event, which gives the event's outcome."""

    def result(self, timeout: float | None = None) -> SendEventResult:
        """Wait for the outcome. After ``await_linger`` seconds everything in the buffer is sent, as
        by a flush. So waiting for one event after another costs one request for each.

        Args:
            timeout: seconds; None for as long as it takes; 0: do not wait.

        Raises:
            MasivoError: the event failed; the class of the error says why.
            TimeoutError: there is no outcome yet; the event stays pending.
            RuntimeError: called from ``on_error`` or ``on_activity`` while there is no outcome.
        """
        return unwrap(self._wait(timeout))

    def exception(self, timeout: float | None = None) -> MasivoError | None:
        """Wait for the outcome; return the error, or None if the event did not fail. Raises
        TimeoutError and RuntimeError where ``result`` does."""
        outcome = self._wait(timeout)
        return outcome.error.copy() if isinstance(outcome, Failed) else None

    def __dir__(self) -> list[str]:
        return public_names(self)

    def _wait(self, timeout: float | None) -> protocol.Outcome:
        timeout = wait_limit(timeout)
        if self.peek() is None and self.buffer is not None:
            session = cast("Session", self.buffer.owner)
            what = "the event has no outcome yet; it stays pending"
            session.wait(self, timeout, what)
        outcome = self.claim()
        assert outcome is not None  # noqa: S101 (`wait` returns only when there is one)
        return outcome


@documented
class Client(ClientBase[HttpClient]):
    """Sends events from threads.

    Clients of the same ``api_key``, ``base_url``, ``api`` and ``http_client`` in a process share
    one token and one thread; each request in flight has a thread of its own. No thread is started
    before there is something to send. Every method may be called from any thread.
    """

    def _open(self) -> None:
        _process.notice_fork()  # or it would join a session of the parent
        self._on_fork = _process.notice_fork
        base_url, enabled = self._settings.account.base_url, self._settings.enabled
        self._opener = opener_of(self._http_client, "Client", base_url, enabled=enabled)
        self._join()

    def _join(self) -> None:
        account = self._settings.account
        sender = ThreadSender(self._opener)
        session = sessions.join((None, account, id(self._http_client)), sender)
        self._buffer = session.engine.attach(self._settings, Delivery, session, self._store())
        self._attached(self._buffer, session)
        self._send = cast("Callable[[Mapping[str, object]], Delivery]", self._buffer.send)

    def _forked(self) -> None:
        """Begin anew in the child of a fork; not for users."""
        if not self._buffer.closed:
            self._join()

    @property
    def _session(self) -> Session:
        return cast("Session", self._here().owner)

    def _here(self) -> Buffer:
        """The client's buffer in this process, which may be a forked child."""
        _process.notice_fork()
        return self._buffer

    def send_analytics_event(self, event: AnalyticsEvent | Mapping[str, object]) -> Delivery:
        """Take an event into the buffer, and return at once. The only I/O is one write to a local
        file, if the client has a spool.

        Args:
            event: see AnalyticsEvent. It is taken as it is now; later changes have no effect.
                During the call no other thread may change a dict or list in it.

        Returns:
            The event's delivery, which gives the event's outcome. If the buffer was full, the
            delivery has already failed with MasivoQueueFullError (if that error is ``spooled``, the
            event is kept on disk). You may drop the delivery: an unclaimed failure is logged.

        Raises:
            MasivoValidationError: the event is invalid; the message says where and why.
            MasivoClosedError: the client is closed.
        """
        send = self._send
        delivery = send(event)
        # If its wake, or its store, noticed a fork, this process has another buffer.
        return delivery if send is self._send else self._send(event)

    def flush(self, timeout: float | None = None) -> FlushResult:
        """Send what is buffered now, and wait until every event sent so far has its outcome.

        Args:
            timeout: seconds; None for as long as it takes.

        Returns:
            The numbers of events that, since the previous flush, were delivered, failed, or stayed
            in the spool; concurrent flushes count the same events.

        Raises:
            TimeoutError: some events have no outcome yet; these stay pending.
            MasivoClosedError: the client is closed.
            RuntimeError: called from ``on_error`` or ``on_activity``.
        """
        return cast("FlushResult", self._wait(self._here().flush(), timeout, NOT_ALL_YET))

    def drain(self, timeout: float | None = None) -> None:
        """Wait until the buffer has room for a batch; with a spool, until the spool has room.
        Meanwhile batches are sent at once: they do not wait for ``batch_size``, ``idle_timeout`` or
        ``max_wait``.

        For a producer that should wait instead of getting a MasivoQueueFullError. (With a spool, an
        event for which memory has no room still gets one, whose ``spooled`` is True.)

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            TimeoutError: there is no room yet.
            MasivoClosedError: the client is closed.
            RuntimeError: called from ``on_error`` or ``on_activity``.
        """
        self._wait(self._here().drain(), timeout, NO_ROOM_YET)

    def get_token(self, timeout: float | None = None) -> str:
        """Return the bearer token, for your own requests. Authorizes first if there is none.

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            MasivoAuthError: authorization failed.
            MasivoServerKeyError: a SERVER key was used.
            MasivoNetworkError: there was no usable response.
            MasivoConfigError: the client is disabled.
            TimeoutError: there is no token yet.
            MasivoClosedError: the client is closed.
            RuntimeError: called from ``on_error`` or ``on_activity``.
        """
        return cast("str", self._wait(self._here().token(), timeout, NOT_GRANTED_YET))

    def close(self, timeout: float | None = 10.0) -> None:
        """Flush, then release everything. May be called more than once; leaving ``with`` calls it.

        Args:
            timeout: seconds for the whole close; calling ``on_error`` for events that fail when the
                time is up may take 0.2 s more. A batch that waits for a retry is tried once more
                before the time is up. Events that are not delivered in time fail with
                MasivoClosedError, or with the error of that try. None: as long as the retries take.

        Raises:
            RuntimeError: called from ``on_error`` or ``on_activity``.
        """
        limit = wait_limit(timeout)
        session = self._session
        if session.dead:
            return  # closed before a fork, in the parent
        session.check_may_wait()
        ticket = self._buffer.close(limit)
        session.finish(ticket, limit)

    def destroy(self) -> None:
        """Release everything now, without sending; undelivered events fail with
        MasivoClosedError. Other clients of the key are not affected."""
        session = self._session
        if session.dead:
            return  # closed before a fork, in the parent
        ticket = self._buffer.destroy()
        if session.may_wait:
            session.finish(ticket, 0.0)
        else:
            session.wake()

    def _wait(self, ticket: Ticket, timeout: float | None, what: str) -> object:
        """Wait for a ticket, and return its value; one that is given up is cancelled."""
        try:
            timeout = wait_limit(timeout)
            if ticket.outcome is None:
                self._session.wait(ticket, timeout, what)
        except BaseException:
            self._buffer.cancel(ticket)
            self._session.wake()
            raise
        return unwrap(ticket.outcome)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        """Deliver the events of a client that was dropped without a close, then detach it."""
        buffer: Buffer | None = getattr(self, "_buffer", None)
        if buffer is None or buffer.closed:
            return
        session = cast("Session", buffer.owner)
        if session.dead:
            return
        if _process.exiting:
            _process.deliver([(session, buffer)])
            session.log_unclaimed()
        else:
            buffer.close(None)
            session.attend()
