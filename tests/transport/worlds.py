"""One script of requests for every world."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import trio
import uvloop

from masivo._http import ThreadSender
from masivo._http.on_asyncio import Asyncio
from masivo._http.on_trio import Trio
from masivo._http.transport import Transport
from masivo.protocol import Failure, Request, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from masivo._http.openers import Opener

__all__ = ["LOOPS", "WORLDS", "Face", "Run", "run_in", "sender_in", "to"]

T = TypeVar("T")

LOOPS: Final = ("asyncio", "uvloop", "trio")
WORLDS: Final = ("threads", *LOOPS)


def to(
    url: str,
    body: bytes = b"{}",
    *,
    method: str = "POST",
    timeout: float = 10.0,
    last_try: bool = False,
) -> Request:
    """A request to an address."""
    return Request(
        1, method, url, (("content-type", "application/json"),), body, timeout, None, last_try
    )


class Face:
    """A sender as scripts see it, whatever the world."""

    def __init__(self, sender: Any) -> None:
        self.sender = sender
        self.transport: Any = sender._transport if isinstance(sender, ThreadSender) else sender

    async def send(self, request: Request) -> Response | Failure:
        """Carry out one request."""
        if isinstance(self.sender, ThreadSender):
            return self.sender.send(request)
        result: Response | Failure = await self.sender.send(request)
        return result

    async def together(self, requests: list[Request]) -> list[Response | Failure]:
        """Carry out several at the same time."""
        results: list[Response | Failure] = []

        async def one(request: Request) -> None:
            results.append(await self.send(request))

        if isinstance(self.sender, ThreadSender):
            threads = [
                threading.Thread(target=_run_through, args=(one(each),)) for each in requests
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        elif isinstance(self.transport._world, Asyncio):
            await asyncio.gather(*map(one, requests))
        else:
            async with trio.open_nursery() as nursery:
                for request in requests:
                    nursery.start_soon(one, request)
        return results

    async def close(self) -> None:
        """Close the sender."""
        if isinstance(self.sender, ThreadSender):
            self.sender.close()
        else:
            await self.sender.aclose()


class Run(Protocol):
    """Runs a script in a world, with a sender for an address, which is closed in the end."""

    def __call__(self, url: str, script: Callable[[Face], Awaitable[T]], /) -> T: ...


def sender_in(world: str, opener: Opener) -> Any:
    """What sends requests in a world, made in it."""
    if world == "threads":
        return ThreadSender(opener)
    return opener(Trio() if world == "trio" else Asyncio())


def run_in(world: str) -> Run:
    """What runs a script in a world."""

    def run(url: str, script: Callable[[Face], Awaitable[T]]) -> T:
        async def main() -> T:
            face = Face(sender_in(world, partial(Transport, url)))
            try:
                return await script(face)
            finally:
                await face.close()

        if world == "threads":
            return _run_through(main())
        if world == "trio":
            return trio.run(main)
        return uvloop.run(main()) if world == "uvloop" else asyncio.run(main())

    return run


def _run_through(script: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that is never suspended: in threads every wait blocks."""
    try:
        script.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it was suspended")
