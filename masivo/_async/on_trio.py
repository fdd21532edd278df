"""The client for trio."""

from __future__ import annotations

from contextvars import copy_context
from threading import get_ident
from typing import TYPE_CHECKING, Self, cast

try:
    import trio
except ImportError as error:
    raise ImportError(
        "masivo.TrioClient needs trio, which is not installed: pip install 'masivo[trio]'",
        name="trio",
    ) from error

from masivo._client import documented
from masivo._http.on_trio import Trio

from .client import LoopClient
from .session import CLOSED_WITHIN, LoopSession, Member

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from masivo._http.openers import Opener
    from masivo._session import Key
    from masivo.protocol import Account, Buffer, Request

__all__ = ["TrioClient"]


class TrioSession(LoopSession):
    """One key's engine in one trio run, driven by a system task.

    Requests for a client's events run in the client's own nursery, those for all clients in system
    tasks: another client's nursery may be left at any time.
    """

    _event = trio.Event

    def __init__(self, key: Key, opener: Opener) -> None:
        super().__init__(key, opener, Trio())
        self._thread = get_ident()
        self.token = trio.lowlevel.current_trio_token()
        self._call_soon = self.token.run_sync_soon
        self._sending: set[trio.CancelScope] = set()
        # It begins at the next checkpoint, when a client is attached.
        trio.lowlevel.spawn_system_task(self.drive, context=copy_context())

    def joined(self, buffer: Buffer) -> None:
        """See LoopSession. The session itself started its driving task."""
        cast("Member", buffer.owner).nursery.start_soon(self.watch, buffer)

    @trio.lowlevel.enable_ki_protection  # an interrupt inside a step would lose events
    async def watch(self, buffer: Buffer) -> None:
        """Abandon a client when its nursery is cancelled: it can start no more requests."""
        try:
            await trio.sleep_forever()
        finally:
            buffer.abandon("the nursery of the client was cancelled")
            self.step()

    async def aclose(self) -> None:
        """See LoopSession."""
        if not self.engine.attached:
            for scope in self._sending:
                scope.cancel()
            with trio.move_on_after(CLOSED_WITHIN, shield=True):
                await self.sender.aclose()

    def here(self) -> bool:
        """See LoopSession."""
        return _current_token() is self.token

    def check_loop(self) -> None:
        """See LoopSession. Each event calls it, so a cheap check comes first."""
        if self._bell is not None and get_ident() == self._thread:
            return
        token = _current_token()
        if token is not self.token:
            raise RuntimeError(
                "this TrioClient belongs to the trio run that entered it, and "
                + ("no trio run is active here" if token is None else "this is another one")
            )

    def _start(self, request: Request) -> None:
        if isinstance(request.owner, Member):
            request.owner.nursery.start_soon(self._send, request)
        else:
            trio.lowlevel.spawn_system_task(self._send, request)

    @trio.lowlevel.enable_ki_protection
    async def _send(self, request: Request) -> None:
        following: Request | None = request
        with trio.CancelScope() as scope:
            self._sending.add(scope)
            try:
                while following is not None:
                    # A request may be written before its first wait.
                    await trio.lowlevel.checkpoint_if_cancelled()
                    following = await self.carry_out(following)
            except BaseException as error:
                if isinstance(request.owner, Member) or isinstance(error, trio.Cancelled):
                    raise
                # From a system task it would end the run.
                self.abort(f"a request was interrupted by {type(error).__name__}")
            finally:
                self._sending.discard(scope)


def _current_token() -> trio.lowlevel.TrioToken | None:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None


@documented
class TrioClient(LoopClient):
    """Sends events from trio: ``async with TrioClient(...) as client``.

    The client owns a nursery, so its block must be entered, and left in the same task. Clients of
    the same ``api_key``, ``base_url``, ``api`` and ``http_client`` in a trio run share one token.
    ``aclose``, ``drain``, ``flush`` and ``get_token`` are awaited, and so are deliveries; other
    methods are plain calls.
    """

    _manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    def _join(self) -> Buffer:
        raise RuntimeError("enter the client first: async with TrioClient(...) as client")

    def _begin_anew(self, account: Account) -> None:
        """See ClientBase. A client that was entered belongs to its block."""
        if self._manager is None:
            super()._begin_anew(account)

    @trio.lowlevel.enable_ki_protection  # a nursery that is not left would corrupt the run
    async def __aenter__(self) -> Self:
        if self._manager is not None or self._shut:
            raise RuntimeError("a TrioClient can be entered only once; make a new one")
        token = _current_token()
        if token is None:
            raise RuntimeError("a TrioClient needs trio.run; in asyncio use masivo.AsyncClient")
        self._manager = trio.open_nursery()
        nursery = await self._manager.__aenter__()
        self._attach(TrioSession, token, nursery).use()
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._manager is not None  # noqa: S101
        assert self._joined is not None  # noqa: S101
        nursery = cast("Member", self._joined.owner).nursery
        try:
            await super().__aexit__(kind)
        finally:
            # The block's exception and a cancellation from outside are not the nursery's: they
            # propagate as they are, in no group.
            nursery.cancel_scope.shield = True
            nursery.cancel_scope.cancel()
            try:
                await self._manager.__aexit__(None, None, None)
            except BaseExceptionGroup as group:
                if group.split(KeyboardInterrupt)[1] is None:  # Ctrl-C while the tasks ended
                    raise KeyboardInterrupt from None
                raise
