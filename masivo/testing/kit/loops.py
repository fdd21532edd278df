"""Functions for tests in asyncio or trio, whichever is running."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_loop", "in_thread"]

T = TypeVar("T")


def _in_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()


def in_loop() -> bool:
    """Return whether an event loop runs on this thread."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001
        return True
    return _in_trio()


async def in_thread(call: Callable[[], T]) -> T:
    """Make a blocking call in a separate thread, without blocking the loop."""
    if _in_trio():
        import trio

        return await trio.to_thread.run_sync(call)
    import asyncio

    return await asyncio.to_thread(call)
