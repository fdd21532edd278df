"""The common part of the clients for asyncio and for trio."""

from __future__ import annotations

from abc import abstractmethod
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from masivo import MasivoClosedError, _process, protocol
from masivo._client import NO_ROOM_YET, NOT_ALL_YET, NOT_GRANTED_YET, ClientBase
from masivo._guesses import Advised, public_names
from masivo._http import AsyncHttpClient, opener_of
from masivo._session import registry
from masivo.protocol import Failed, FlushResult, Stats, unwrap, wait_limit

from .session import Member, session_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping

    from masivo import AnalyticsEvent, MasivoError
    from masivo._http.openers import Opener
    from masivo._session import Key
    from masivo.protocol import Account, Buffer, Outcome, SendEventResult, Ticket

    from .session import AsyncSender, LoopSession

    _Makes: TypeAlias = Callable[[Key, Opener], LoopSession]

__all__ = ["AsyncDelivery", "LoopClient"]

M = TypeVar("M", bound="Callable[..., Coroutine[object, None, object]]")


class AsyncDelivery(protocol.Delivery, Advised, gc=False, eq=False):
    """The handle of one event: ``await`` it for the outcome, any number of times.

    Awaiting returns the SendEventResult or raises the MasivoError that ended the event. Cancelling
    a waiter affects neither the event nor other waiters. After ``await_linger`` seconds everything
    in the buffer is sent, as by a flush. So awaiting one event after another costs one request for
    each.
    """

    def __await__(self) -> Generator[object, None, SendEventResult]:
        return self._result().__await__()

    def __dir__(self) -> list[str]:
        return public_names(self)

    async def _result(self) -> SendEventResult:
        return unwrap(await self._wait())

    async def exception(self) -> MasivoError | None:
        """Wait for the outcome; return the error, or None if the event did not fail."""
        outcome = await self._wait()
        return outcome.error.copy() if isinstance(outcome, Failed) else None

    async def _wait(self) -> Outcome:
        if self.buffer is not None and self.buffer.orphaned is None:
            await session_of(self.buffer).wait(self, None, "")
        outcome = self.claim()
        assert outcome is not None  # noqa: S101 (`wait` returns only when there is one)
        return outcome


def _checked_at_call(method: M) -> M:
    """Make a method raise at the call inside ``on_error``: a plain function awaits nothing."""

    @wraps(method)
    def checked(self: LoopClient, *args: Any, **kwargs: Any) -> object:
        if self._joined is not None:
            session_of(self._joined).check_may_wait()
        return method(self, *args, **kwargs)

    return cast("M", checked)


class LoopClient(ClientBase[AsyncHttpClient]):
    """The common part of the clients for event loops.

    It joins the session of its loop at the first use (``_bound``), not before.
    """

    _writes_in_polls = False
    _joined: Buffer | None = None
    _send: Callable[[Mapping[str, object]], AsyncDelivery]  # its buffer's
    _check_loop: Callable[[], None]  # its session's
    _shut = False  # it is closed, whether it ever joined a session or not

    def _open(self) -> None:
        base_url, enabled = self._settings.account.base_url, self._settings.enabled
        self._opener = opener_of(self._http_client, "AsyncClient", base_url, enabled=enabled)

    @abstractmethod
    def _join(self) -> Buffer:
        """Join the session of the running loop.

        Raises:
            RuntimeError: there is none, or it takes more than a plain call to join it.
        """

    def _bound(self) -> Buffer:
        """The client's buffer; joins the session of the running loop at the first use.

        Raises:
            MasivoClosedError: the client is closed.
            RuntimeError: no loop is running, or another than that of the first use.
        """
        if self._shut:
            raise MasivoClosedError("the client is closed; make a new one to send more")
        if self._joined is None:
            return self._join()
        self._check_loop()
        return self._joined

    def _attach(self, kind: _Makes, loop: object, nursery: object = None) -> Buffer:
        """Join the session of a loop, which is made if there is none."""
        key = loop, self._settings.account, id(self._http_client)
        session = cast("LoopSession | None", registry.get(key))
        if session is None:
            session = kind(key, self._opener)
        member = Member(session, nursery, self._own_sender(session.sender))
        buffer = session.engine.attach(self._settings, AsyncDelivery, member, self._store())
        self._send = cast("Callable[[Mapping[str, object]], AsyncDelivery]", buffer.send)
        self._joined, self._check_loop = buffer, session.check_loop
        self._attached(buffer, session)
        session.joined(buffer)
        return buffer

    def _own_sender(self, sender: AsyncSender) -> AsyncSender | None:
        """Make the sender of this client's batches, from its session's; None: the session's
        sender."""
        return None

    def _begin_anew(self, account: Account) -> None:
        """See ClientBase. The next use joins the session of the loop that it is in."""
        super()._begin_anew(account)
        self._joined = None

    @property
    def _is_open(self) -> bool:
        """See ClientBase."""
        return not self._shut

    async def _wait(self, ticket: Ticket, timeout: float | None, what: str) -> object:
        """Wait for a ticket, and return its value; one that is given up is cancelled."""
        buffer = self._bound()
        session = session_of(buffer)
        try:
            await session.wait(ticket, wait_limit(timeout), what)
        except BaseException:
            buffer.cancel(ticket)
            session.wake()
            raise
        return unwrap(ticket.outcome)

    def send_analytics_event(self, event: AnalyticsEvent | Mapping[str, object]) -> AsyncDelivery:
        """Take an event into the buffer, and return at once: a plain call, which is not awaited.
        The only I/O is one write to a local file, if the client has a spool.

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
            RuntimeError: called outside the event loop of the client's first use.
        """
        if self._shut or self._joined is None:
            self._bound()
        else:  # what `_bound` does, for each event without the call
            self._check_loop()
        return self._send(event)

    @_checked_at_call
    async def flush(self, timeout: float | None = None) -> FlushResult:
        """Send what is buffered now, and wait until every event sent so far has its outcome.

        Args:
            timeout: seconds; None for as long as it takes.

        Returns:
            The numbers of events that, since the previous flush, were delivered, failed, or stayed
            in the spool; concurrent flushes count the same events.

        Raises:
            TimeoutError: some events have no outcome yet; these stay pending.
            MasivoClosedError: the client is closed.
            RuntimeError: called from ``on_error`` or ``on_activity``, or in another event loop.
        """
        return cast("FlushResult", await self._wait(self._bound().flush(), timeout, NOT_ALL_YET))

    @_checked_at_call
    async def drain(self, timeout: float | None = None) -> None:
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
            RuntimeError: called from ``on_error`` or ``on_activity``, or in another event loop.
        """
        await self._wait(self._bound().drain(), timeout, NO_ROOM_YET)

    @_checked_at_call
    async def get_token(self, timeout: float | None = None) -> str:
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
            RuntimeError: called from ``on_error`` or ``on_activity``, or in another event loop.
        """
        return cast("str", await self._wait(self._bound().token(), timeout, NOT_GRANTED_YET))

    @_checked_at_call
    async def aclose(self, timeout: float | None = 10.0) -> None:
        """Flush, then release everything. May be called more than once. Leaving ``async with``
        normally, without an exception or a cancellation, calls it.

        Args:
            timeout: seconds for the whole close. A batch that waits for a retry is tried once more
                before the time is up. Events that are not delivered in time fail with
                MasivoClosedError, or with the error of that try. None: as long as the retries take.

        Raises:
            RuntimeError: called from ``on_error`` or ``on_activity``, or in another event loop.
        """
        timeout = wait_limit(timeout)
        if self._joined is not None:
            session = session_of(self._joined)
            if not self._joined.detached:
                session.check_loop()
                self._shut = True
                # The engine ends it when the deadline has passed.
                await session.wait(self._joined.close(timeout), None, "")
            await session.aclose()
        self._shut = True

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the client, as ``aclose`` does. But if an exception or a cancellation leaves the
        block, do not flush: pending events fail with MasivoClosedError, and a warning counts
        them."""
        try:
            if kind is None:
                await self.aclose()
        finally:
            # Nothing is left to abandon after an `aclose` that was not cut off.
            why = "the client's block was left by an exception or a cancellation"
            self._release(lambda buffer: buffer.abandon(why))
            if self._joined is not None:
                await session_of(self._joined).aclose()

    def destroy(self) -> None:
        """Release everything now, without sending; undelivered events fail with
        MasivoClosedError. Other clients of the key are not affected."""
        self._release(lambda buffer: buffer.destroy())

    def _release(self, how: Callable[[Buffer], object]) -> None:
        self._shut = True
        if self._joined is not None:
            how(self._joined)
            session_of(self._joined).attend()

    def stats(self) -> Stats:
        """A snapshot of the client's counters."""
        unused = Stats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None)
        return unused if self._joined is None else self._joined.stats()

    def _is_usable(self) -> bool:
        return self._is_open and not (self._joined is not None and self._joined.closed)

    def __del__(self) -> None:
        """Deliver the events of a client that was dropped without a close, then detach it."""
        buffer = self._joined
        if buffer is not None and not (buffer.closed or _process.exiting):
            buffer.close(None)
            session_of(buffer).wake()
