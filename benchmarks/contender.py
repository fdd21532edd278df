"""What takes part: one face for the peers, for masivo in three worlds, and for the limits.

Every measure is written once, as a coroutine. A contender that blocks runs it by itself
(``run``): its coroutines never suspend. One of asyncio or trio runs it in its loop.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .events import Event
    from .sink import SinkControl

__all__ = ["BATCH", "Contender", "Options", "World", "run_blocking"]

T = TypeVar("T")
World: TypeAlias = Literal["threads", "asyncio", "trio"]

BATCH = 100
"""Events per request, wherever a contender lets us choose."""

LINGER = 100_000.0
"""Seconds: no contender sends anything because of its age."""


@dataclass(frozen=True)
class Options:
    """How a contender is set up."""

    sink: SinkControl
    capacity: int | None = None
    """How many events it must be able to hold; None for its own default settings throughout."""
    hold: bool = False
    """Whether events are to wait in it, and not to be sent."""
    in_flight: int = 1
    """How many requests may be on their way at once, where one can choose."""
    spool: bool = False
    """Whether it keeps events on disk, where it can."""
    key: str = "benchmark-key"
    """The API key."""


class Contender(ABC):
    """Something that events are given to.

    Args:
        options: how it is set up.
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["peer", "masivo", "limit"]]
    world: ClassVar[World] = "threads"

    send: Callable[[Event], object]
    """Takes an event. Set by ``open``."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    async def open(self) -> None:
        """Set up the client."""

    async def pause(self) -> None:  # noqa: B027 (nothing to do where there is no loop)
        """Let others of the event loop run."""

    async def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""
        time.sleep(seconds)  # noqa: ASYNC251 (for a contender that blocks)

    @abstractmethod
    async def finish(self) -> None:
        """Have everything sent, and wait for it as far as the library can."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the client, without sending."""

    async def deliver(self, events: Sequence[Event]) -> None:
        """Send events as fast as possible."""
        for start in range(0, len(events), BATCH):
            for event in events[start : start + BATCH]:
                self.send(event)
            await self.pause()
        await self.finish()

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in this contender's world."""
        return run_blocking(main)


def run_blocking(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine that never suspends."""
    coroutine = main()
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a contender that blocks must not suspend")
