"""The delivery of one partition: its client, whose requests check the lease first."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from masivo import AsyncClient
from masivo._async.session import session_of
from masivo.protocol import Failure, Secret

if TYPE_CHECKING:
    from typing import Unpack

    from masivo._async.session import AsyncSender
    from masivo.protocol import ClientOptions, Request, Response, Store

    from .connection import Connections
    from .partition import Partition

__all__ = ["Delivery", "RelayClient"]

BELL: Final = 1.0
"""Seconds for which a relay waits in Redis for the next event of a partition."""


class RelayClient(AsyncClient):
    """A client of the relay: for a partition, or without one, to keep the token and the estimate of
    the time.

    Args:
        delivery: of the partition.
        key: the upstream's.
        options: as for ``AsyncClient``.
    """

    def __init__(
        self, delivery: Delivery | None, key: Secret, **options: Unpack[ClientOptions]
    ) -> None:
        self._delivery = delivery
        super().__init__(key.reveal(), **options)

    @property
    def base_url(self) -> str:
        """The upstream's."""
        return self._settings.account.base_url

    def _store(self) -> Store | None:
        return None if self._delivery is None else self._delivery.partition

    def _own_sender(self, sender: AsyncSender) -> AsyncSender | None:
        return None if self._delivery is None else _Sender(self._delivery, sender)

    def server_time(self) -> tuple[float, bool]:
        """See ``Buffer``."""
        return self._bound().server_time()

    def begin(self) -> None:
        """Begin to deliver."""
        buffer = self._bound()
        buffer.silence()  # the relay reports failures itself
        buffer.use()
        self._wake()

    def look(self) -> None:
        """Read new events at once."""
        if self._is_usable():
            self._bound().look()
            self._wake()

    def _wake(self) -> None:
        session_of(self._bound()).wake()


class _Sender:
    """Sends a partition's batches while its lease lasts."""

    def __init__(self, delivery: Delivery, sender: AsyncSender) -> None:
        self._delivery = delivery
        self._sender = sender

    async def send(self, request: Request) -> Response | Failure:
        """See AsyncSender. Waits until the lease is usable: that is no failure of the API."""
        if not await self._delivery.may_start():
            return Failure("the lease of this partition is over", sent=False)
        self._delivery.in_flight += 1
        try:
            return await self._sender.send(request)
        finally:
            self._delivery.request_ended()

    async def aclose(self) -> None:
        """See AsyncSender: the connections belong to the session."""


class Delivery:
    """Delivers a partition while its lease lasts.

    Args:
        partition: the partition.
        token: the lease's.
        redis: where it is.
    """

    def __init__(self, partition: Partition, token: bytes, redis: Connections) -> None:
        self.partition: Partition = partition
        self.token: bytes = token
        self.ends_at: float = 0.0
        self.in_flight: int = 0
        """The requests that have started."""
        self.at_end: asyncio.Event = asyncio.Event()
        """Set while the partition was read to its end."""
        self._redis = redis
        self._usable_until = 0.0
        self._draining = False
        self._ended = False
        self._changed = asyncio.Event()
        self._client: RelayClient | None = None
        self._bell: asyncio.Task[None] | None = None

    def begin(self, client: RelayClient) -> None:
        """Begin, with the client of the partition."""
        self._client = client
        client.begin()
        self._bell = asyncio.create_task(self._listen(), name="masivo-relay-bell")

    # ── The lease ────────────────────────────────────────────────────────────────────────────

    def renewed(self, usable_until: float) -> None:
        """See Holder."""
        self._usable_until = usable_until
        self._ring()

    def _ring(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    @property
    def _may_start(self) -> bool:
        if self._draining or not self.partition.writable:
            return False
        return time.monotonic() < self._usable_until

    async def may_start(self) -> bool:
        """Wait until a request may start; return False if the lease has ended."""
        while not (self._may_start or self._ended):
            await self._changed.wait()
        return not self._ended

    def drain(self) -> None:
        """See Holder."""
        self._draining = True
        if not self.in_flight:
            self.end()

    def request_ended(self) -> None:
        """Note that a request has ended; its client gets the result in the loop's next
        iteration."""
        self.in_flight -= 1
        if self._draining and not self.in_flight:
            asyncio.get_running_loop().call_soon(self.end)

    @property
    def drained(self) -> bool:
        """See Holder: its last removals were written."""
        return self.partition.released

    def end(self) -> None:
        """See Holder."""
        self._ended = True
        self._ring()
        if self._bell is not None:
            self._bell.cancel()
        if self._client is not None:
            self._client.destroy()
            self._client = None

    # ── The bell ─────────────────────────────────────────────────────────────────────────────

    async def _listen(self) -> None:
        """Make the client read at once when an event arrives after the present end."""
        while not self._ended:  # redis-py may swallow a cancellation
            await self.at_end.wait()
            try:
                rings = await self._redis.wait_for(self.partition.name, self.partition.last, BELL)
            except Exception:  # noqa: BLE001 (the client reads every second in any case)
                await asyncio.sleep(BELL)
                continue
            if rings and self._client is not None:
                self.at_end.clear()
                self._client.look()
