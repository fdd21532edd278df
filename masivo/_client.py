"""The common part of the clients of all worlds: the constructor, sending, counters."""

from __future__ import annotations

from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, Unpack

from msgspec import structs

from masivo import _guard
from masivo._guesses import SETTINGS, Advised, misnamed
from masivo._living import Living
from masivo._log import logger
from masivo.protocol import NotCopied, Secret, configure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from masivo._session import SessionBase
    from masivo.protocol import Account, Buffer, ClientOptions, OnActivity, Settings, Stats, Store

    Listens: TypeAlias = Callable[[Buffer, SessionBase], OnActivity]

__all__ = ["NOT_ALL_YET", "NO_ROOM_YET", "NOT_GRANTED_YET", "ClientBase", "clients", "documented"]

H = TypeVar("H")
C = TypeVar("C", bound="ClientBase[Any]")

clients: Living[ClientBase[Any]] = Living()
"""Every client of every world that is still referenced."""

NOT_ALL_YET: Final = "not every event has its outcome yet; they stay pending"
"""The message of a flush whose timeout has run out."""
NO_ROOM_YET: Final = "the buffer has no room yet"
"""The same for a drain."""
NOT_GRANTED_YET: Final = "there is no token yet"
"""The same for ``get_token``."""


class ClientBase(Advised, NotCopied, Generic[H]):
    """The common part of the clients.

    An event is a mapping, such as:

        {"type": "ADD_TO_CART", "customer_id": "c-1", "platform": "web", "product": {"sku": "S-1"}}

    Args:
        api_key: the CLIENT key; default: the environment's ``MASIVO_API_KEY``.
        brand_id: filled into events that have a ``platform`` and no ``brand_id``; default: none.
        base_url: the address of the API; default: the environment's ``MASIVO_BASE_URL``, else the
            public endpoint. ``http`` is accepted for a loopback host only; for such a host the
            environment's proxies are ignored.
        batch_size: the most events in a batch; a batch is sent when this many are buffered.
            Default 100.
        idle_timeout: buffered events are sent when no event has come for this many seconds.
            Default 30.
        max_wait: buffered events are sent when the oldest has waited this many seconds.
            Default 60.
        await_linger: buffered events are sent this many seconds after a caller began to wait for
            the outcome of one of them. Default 0.05; None: waiting sends nothing.
        refresh_interval: seconds between renewals of the token; default 300. The shortest among
            the clients of a key counts. None: only shortly before the token expires.
        timeout: seconds for one whole request, from connecting to the last byte. Default 10.
        max_retries: how often a batch is retried after no usable response (but not once the headers
            of a 2xx have arrived), or a status 408, 429, 500, 502, 503 or 504. Default 4; 0: never.
        max_in_flight: how many batches may be in flight at once. Default 1: order is kept for
            the whole client. Above 1, or with a spool, order is kept for each customer.
        max_queue: how many events the client holds at most, those in flight included. The
            deliveries of further events fail with MasivoQueueFullError. Default 100,000.
        max_queue_bytes: how many bytes these events, once encoded, have at most. Default 64 MiB.
        max_event_bytes: the largest event, in bytes. Default 256 KiB.
        max_batch_bytes: the largest body of a batch, in bytes. Default 4 MiB.
        isolate_rejected: whether a batch that was rejected with 400, 413 or 422 is halved until
            only the events at fault fail. Default True.
        on_error: called with a FailedEvent, once for each event that the client accepted and that
            finally fails, on the package's own thread or in the client's loop. It must not wait for
            the client. Default: none.
        on_activity: called in the same place as ``on_error``, with a small value (Activity) for
            each step of the client's work, one call at a time and in order. It must not wait for
            the client. Default: none.
        before_send: called with a copy of each event, during the call to send, before the event is
            checked. The mapping that it returns is sent in the event's place; None drops the event.
            If it raises an Exception, the call raises a MasivoValidationError. It also runs in
            signal handlers and finalizers that send, so it must take no lock. Default: none.
        http_client: your own httpx (or httpx2) client, which you close; or a function that makes
            one, which the package closes (needed where the process forks). Default: the package's
            own connections.
        spool: a directory in which accepted events are kept at least until they have their outcome,
            so that they outlive the process; default: the environment's ``MASIVO_SPOOL``, else
            none.
        spool_max_bytes: the most bytes of this client's events in the spool. Default 1 GiB.
        enabled: whether events are sent; False: they are validated, and nothing is sent (as with
            ``MASIVO_DISABLED=1``). Default True.
        api: how the API is assumed to work; see Api.

    Raises:
        MasivoConfigError: an argument is wrong; the message says which, and why.
    """

    _buffer: Buffer
    _settings: Settings
    _place: tuple[Buffer, SessionBase] | None = None
    _listeners: tuple[Listens, ...] = ()

    def __init__(
        self,
        api_key: str | None = None,
        *,
        http_client: H | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        # From here on no frame holds the key in the clear: tracebacks may show local variables.
        secret = None if api_key is None else Secret(api_key)
        del api_key
        given = [*options]
        try:
            self._settings = configure(secret, environ=_guard.environ(), **options)
        finally:
            del options  # nor a password in a wrong address, nor a key under a wrong name
        for warning in misnamed([*_guard.environ()], given):
            logger.warning(warning)
        if self._settings.spool is not None and self._settings.enabled:
            from masivo.spool import check_place  # here, as only those with a spool pay for it

            self._settings = structs.replace(
                self._settings, spool=check_place(self._settings.spool)
            )
        self._http_client = http_client
        self._open()
        clients.add(self)

    _on_fork: Callable[[], None] | None = None  # see ``Spool``
    _spool_options: Mapping[str, Any] = MappingProxyType({})  # further arguments of ``Spool``
    _writes_in_polls = True  # False: a poll is in an event loop, which must not wait for disks

    def _open(self) -> None:
        """Check ``http_client`` and join the clients of the same key; sets ``_buffer``."""
        raise TypeError(f"{type(self).__name__} is not a client of any world")

    def _store(self) -> Store | None:
        """Make the client's store, if it has a spool."""
        settings = self._settings
        if settings.spool is None or not settings.enabled:
            return None
        from masivo.spool import Spool

        account = settings.account
        spool = Spool(
            settings.spool,
            account.api_key.reveal(),
            account.base_url,
            settings.spool_max_bytes,
            on_fork=self._on_fork,
            **self._spool_options,
        )
        spool.quick = self._writes_in_polls
        return spool

    @property
    def _is_open(self) -> bool:
        """True until it is closed or destroyed."""
        return not self._buffer.closed

    def _forked(self) -> None:
        """Begin anew in the child of a fork, where a client needs to; not for users."""

    def _begin_anew(self, account: Account) -> None:
        """Begin anew: an open client, whose session was ended, joins another; not for users.

        The test kit keeps tests apart with it.

        Args:
            account: what the client belongs to from now on.
        """
        self._settings = structs.replace(self._settings, account=account)
        self._open()

    def _listen(self, make: Listens) -> None:
        """Add a function that is called after ``on_activity``; not for users.

        Args:
            make: makes that function from the client's buffer and session; called again when the
                client begins anew.
        """
        self._listeners = (*self._listeners, make)
        if self._place is not None:
            buffer, session = self._place
            buffer.listen(make(buffer, session))

    def _attached(self, buffer: Buffer, session: SessionBase) -> None:
        """Note the session that was just joined, and add the listeners to its buffer."""
        self._place = buffer, session
        for make in self._listeners:
            buffer.listen(make(buffer, session))

    def stats(self) -> Stats:
        """A snapshot of the client's counters."""
        return self._buffer.stats()

    def _is_usable(self) -> bool:
        """Return whether events can still be sent."""
        return self._is_open

    if not TYPE_CHECKING:

        def __setattr__(self, name, value):
            if name in SETTINGS and type(self) in _ours:
                text = f"{name!r} cannot be set: settings are arguments of the constructor"
                raise AttributeError(text, name=name)
            super().__setattr__(name, value)  # a subclass may have a ``timeout`` of its own

    def __repr__(self) -> str:
        with suppress(AttributeError):  # in a traceback out of the constructor
            state = "open" if self._settings.enabled else "disabled"
            state = state if self._is_usable() else "closed"
            return f"<{type(self).__name__} {self._settings.account.base_url} {state}>"
        return f"<{type(self).__name__} not made>"


_ours: set[type] = set()
"""The classes of clients that users import."""


def documented(client: type[C]) -> type[C]:
    """Note a class of ours, and add the arguments, which all share, to its docstring."""
    _ours.add(client)
    client.__doc__ = (client.__doc__ or "") + (ClientBase.__doc__ or "").partition("\n")[2]
    return client
