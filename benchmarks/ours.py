"""masivo in its three worlds."""

from __future__ import annotations

import asyncio
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from .contender import BATCH, LINGER, Contender, World
from .events import make

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from masivo import AsyncClient, Client, TrioClient

__all__ = ["ALL"]

T = TypeVar("T")


class _Masivo(Contender):
    kind: ClassVar[Literal["peer", "masivo", "limit"]] = "masivo"
    _folder: TemporaryDirectory[str] | None = None

    def settings(self) -> dict[str, Any]:
        """The arguments of the client."""
        options = self.options
        settings: dict[str, Any] = {"base_url": options.sink.url}
        if options.capacity is not None:
            # Beyond what is held back: one batch on its way for each request that may be.
            room = options.capacity + BATCH * (options.in_flight + 1)
            settings |= {
                "max_queue": max(room, 100_000),
                "max_queue_bytes": max(room, 100_000) * 700,
            }
        if options.in_flight != 1:
            settings["max_in_flight"] = options.in_flight
        if options.spool:
            self._folder = TemporaryDirectory(prefix="masivo-bench-", ignore_cleanup_errors=True)
            settings |= {"spool": self._folder.name, "spool_max_bytes": 1 << 40}
        if options.hold:
            settings |= {"timeout": LINGER, "idle_timeout": LINGER, "max_wait": LINGER}
        return settings

    async def open(self) -> None:
        """See Contender. With ``hold``, a batch is on its way whose answer does not come."""
        await self._connect()
        if self.options.hold:
            sink = self.options.sink
            sink.set(hold=True)
            for number in range(BATCH * self.options.in_flight):
                self.send(make(number))
            while sink.read()["held"] < self.options.in_flight:
                await self.sleep(0.01)

    async def _connect(self) -> None:
        """Make the client, and let it authorize."""
        raise NotImplementedError

    async def _let_go(self) -> None:
        """Destroy the client."""
        raise NotImplementedError

    async def close(self) -> None:
        """See Contender."""
        await self._let_go()
        if self._folder is not None:
            self._folder.cleanup()


class Threads(_Masivo):
    """masivo.Client."""

    name = "masivo"
    _client: Client

    async def _connect(self) -> None:
        from masivo import Client

        self._client = Client(self.options.key, **self.settings())
        self._client.get_token()
        self.send = self._client.send_analytics_event

    async def finish(self) -> None:
        """See Contender."""
        self._client.flush()

    async def _let_go(self) -> None:
        """See _Masivo."""
        self._client.destroy()


class Asyncio(_Masivo):
    """masivo.AsyncClient."""

    name = "masivo-asyncio"
    world: ClassVar[World] = "asyncio"
    _client: AsyncClient

    async def _connect(self) -> None:
        from masivo import AsyncClient

        self._client = AsyncClient(self.options.key, **self.settings())
        await self._client.get_token()
        self.send = self._client.send_analytics_event

    async def pause(self) -> None:
        """See Contender."""
        await asyncio.sleep(0)

    async def sleep(self, seconds: float) -> None:
        """See Contender."""
        await asyncio.sleep(seconds)

    async def finish(self) -> None:
        """See Contender."""
        await self._client.flush()

    async def _let_go(self) -> None:
        """See _Masivo."""
        self._client.destroy()
        await self._client.aclose()

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """See Contender."""
        return asyncio.run(main())


class Trio(_Masivo):
    """masivo.TrioClient."""

    name = "masivo-trio"
    world: ClassVar[World] = "trio"
    _client: TrioClient

    async def _connect(self) -> None:
        from masivo import TrioClient

        self._client = TrioClient(self.options.key, **self.settings())
        await self._client.__aenter__()
        await self._client.get_token()
        self.send = self._client.send_analytics_event

    async def pause(self) -> None:
        """See Contender."""
        import trio

        await trio.lowlevel.checkpoint()

    async def sleep(self, seconds: float) -> None:
        """See Contender."""
        import trio

        await trio.sleep(seconds)

    async def finish(self) -> None:
        """See Contender."""
        await self._client.flush()

    async def _let_go(self) -> None:
        """See _Masivo."""
        self._client.destroy()
        await self._client.__aexit__(None, None, None)

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """See Contender."""
        import trio

        return trio.run(main)


ALL: tuple[type[Contender], ...] = (Threads, Asyncio, Trio)
