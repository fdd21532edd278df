"""Nothing of one test's clients is left for the next: no event, no token, no thread."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from masivo._client import ClientBase

__all__ = ["begin_anew", "in_use", "join_workers", "open_clients"]

PATIENCE: Final = 2.0
"""How long worker threads may take to end, in seconds. None needs more than a millisecond, unless
it is in a request to a server of the test's own, or in the test's own ``on_error``."""


def begin_anew(address: Mapping[str, str], ours: Collection[str]) -> None:
    """Have all clients of this process begin anew: empty, without a token, on the current clock.

    Clients that somebody refers to stay usable: an app keeps its own for longer than a test. What
    the others left behind is ended.

    Args:
        address: what clients of the kit belong to from now on.
        ours: the base URLs that make a client one of the kit's.
    """
    if "masivo._client" not in sys.modules:
        return
    from masivo.protocol import Account, Secret

    still_open = open_clients()
    _end_sessions("the test was over")
    for client in still_open:
        account = client._settings.account  # noqa: SLF001
        if account.base_url in ours:
            key = Secret(address["MASIVO_API_KEY"])
            account = Account(key, address["MASIVO_BASE_URL"], account.api)
        client._begin_anew(account)  # noqa: SLF001


def open_clients() -> list[ClientBase[Any]]:
    """The clients of this process that were neither closed nor destroyed nor forgotten."""
    if "masivo._client" not in sys.modules:
        return []
    from masivo._client import clients

    return [client for client in list(clients) if client._is_open]  # noqa: SLF001


def in_use() -> bool:
    """Whether a client has sent something, or joined an event loop, since it began anew."""
    if "masivo._async.asyncio_loops" in sys.modules:
        from masivo._async.asyncio_loops import registries

        if any(registries.values()):
            return True
    return any(client.stats().accepted for client in open_clients())


def _end_sessions(why: str) -> None:
    """End those of threads and of asyncio; in trio they never outlive the client's block."""
    if "masivo._sync.session" in sys.modules:
        from masivo._sync import session as threads

        for session in threads.sessions():
            session.abort(why)
    if "masivo._async.asyncio_loops" in sys.modules:
        from masivo._async.asyncio_loops import registries

        for registry in list(registries.values()):
            for loop_session in list(registry.values()):
                loop_session.abort_anywhere(why)


def join_workers() -> None:
    """Wait for the threads of clients that began anew."""
    deadline = time.monotonic() + PATIENCE
    for thread in threading.enumerate():
        if thread.name == "masivo":
            thread.join(max(0.0, deadline - time.monotonic()))
