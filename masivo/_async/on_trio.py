"""The client for trio."""

from __future__ import annotations

import weakref
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self, cast

import trio

from masivo._client import ClientBase
from masivo._http import AsyncHttp
from masivo.protocol import Failure

from .client import AsyncDelivery, LoopClient
from .session import GRACE, Key, LoopSession, Member, Registry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from masivo.protocol import Buffer, Delivery, Request, Ticket

__all__ = ["TrioClient"]

_registries: weakref.WeakKeyDictionary[trio.lowlevel.TrioToken, Registry] = (
    weakref.WeakKeyDictionary()
)


class TrioSession(LoopSession):
    """One key's engine in one trio run.

    Each client has a task in its own nursery that would drive it; one at a time does.
    """

    def __init__(self, key: Key, registry: Registry, http: AsyncHttp) -> None:
        # Bound to the run's clock, so that it can be read outside of a task (by a finalizer).
        super().__init__(key, registry, http, trio.lowlevel.current_clock().current_time)
        self.token = trio.lowlevel.current_trio_token()
        self._bell = trio.Event()
        self._lead = trio.Lock()
        self._nursery: trio.Nursery | None = None  # of the client whose task drives
        self.drivers = 0
        """How many clients' tasks there are to drive it."""

    async def run(self, nursery: trio.Nursery) -> None:
        """Drive the session, whenever no other client's task does."""
        try:
            async with self._lead:
                self._nursery = nursery
                await self.drive()
        finally:
            if self._nursery is nursery:
                self._nursery = None
            self.drivers -= 1
            if not self.drivers and self.engine.attached:
                self.abort("the nursery of the client was cancelled")

    async def aclose(self) -> None:
        """Let go of the connections, if no client is left."""
        if not self.engine.attached:
            self.leave()
            await self.http.aclose()

    def _ring(self) -> None:
        self._bell.set()

    def _ring_from_outside(self) -> None:
        with suppress(trio.RunFinishedError):
            self.token.run_sync_soon(self._ring, idempotent=True)

    def _start(self, request: Request) -> None:
        # In the nursery of the client whose events they are: another may be left at any time.
        owner = request.owner
        nursery = owner.nursery if isinstance(owner, Member) else self._nursery
        if isinstance(nursery, trio.Nursery):
            nursery.start_soon(self.carry_out, request)
        else:
            self.engine.handle_failure(request.id, Failure("no task drives", sent=False))
            self.wake()

    async def _sleep(self, until: float | None) -> None:
        with trio.CancelScope(deadline=float("inf") if until is None else until):
            await self._bell.wait()
        self._bell = trio.Event()

    async def _wait_for(self, awaited: Delivery | Ticket, timeout: float | None) -> None:
        event = trio.Event()
        with self._waiting(awaited, event.set) as unfinished:
            if unfinished:
                with trio.CancelScope(
                    deadline=float("inf") if timeout is None else trio.current_time() + timeout
                ) as scope:
                    await event.wait()
                if scope.cancelled_caught:
                    raise TimeoutError


@asynccontextmanager
async def _bound(seconds: float) -> AsyncGenerator[None, None]:
    """What bounds a request."""
    with trio.fail_after(seconds):
        yield


class TrioClient(LoopClient):
    __doc__ = """Sends events from trio: ``async with TrioClient(...) as client``.

    It owns a nursery, so it must be entered, and left in the task that entered it. Clients of the
    same ``api_key`` in a run share one token.
    """ + (ClientBase.__doc__ or "").partition("\n")[2]

    _manager: AbstractAsyncContextManager[trio.Nursery] | None = None
    _token: trio.lowlevel.TrioToken | None = None

    def _bound(self) -> Buffer:
        if self._joined is None:
            raise RuntimeError("enter the client first: async with TrioClient(...) as client")
        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError:
            token = None
        if token is not self._token:
            raise RuntimeError(
                "this TrioClient belongs to the trio run that entered it, and "
                + ("no trio run is active here" if token is None else "this is another one")
            )
        return self._joined

    async def _released(self, session: LoopSession) -> None:
        if isinstance(session, TrioSession):
            await session.aclose()

    async def __aenter__(self) -> Self:
        if self._manager is not None or self._shut:
            raise RuntimeError("a TrioClient is entered once; make a new one")
        self._token = trio.lowlevel.current_trio_token()
        self._manager = trio.open_nursery()
        nursery = await self._manager.__aenter__()
        registry = _registries.setdefault(self._token, {})
        account = self._settings.account
        key = account, id(self._http_client)
        session = registry.get(key)
        if not isinstance(session, TrioSession):
            session = TrioSession(
                key, registry, AsyncHttp(self._http_client, account.base_url, _bound)
            )
        member = Member(session, nursery)
        self._joins(session.engine.attach(self._settings, AsyncDelivery, member))
        session.drivers += 1
        nursery.start_soon(session.run, nursery)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._manager is not None  # noqa: S101
        session, nursery = cast("tuple[TrioSession, trio.Nursery]", self._bound().owner)
        try:
            if kind is None:
                await self.aclose()
        finally:
            # After `aclose` there is nothing to abandon; else the block was left by an exception,
            # or this one was cancelled.
            self._abandon()
            with trio.move_on_after(GRACE, shield=True):
                await session.aclose()
            # The block's exception is not the nursery's, nor is a cancellation from outside: they
            # go on as they are, in no group.
            nursery.cancel_scope.shield = True
            nursery.cancel_scope.cancel()
            await self._manager.__aexit__(None, None, None)
