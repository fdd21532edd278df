"""The isolation of tests: no event, token or thread of a client is left for the next test."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from masivo._client import ClientBase

__all__ = ["reset_clients", "in_use", "join_workers", "open_clients"]

PATIENCE: Final = 2.0
"""Seconds that worker threads may take to end. They need less than a millisecond, except in a
request to a server of the test's own, or in its ``on_error``."""


def reset_clients(address: Mapping[str, str], ours: Collection[str]) -> None:
    """Reset all clients of this process: no events, no token, on the current clock.

    Referenced clients stay usable, as an app may keep one longer than a test. The sessions of all
    others are ended.

    Args:
        address: the new key and base URL of the kit's clients.
        ours: the base URLs by which the kit's clients are known.
    """
    if "masivo._client" not in sys.modules:
        return
    from masivo._session import registry
    from masivo.protocol import Account, Secret

    still_open = open_clients()
    for session in list(registry.values()):
        session.abort("the test was over")
    for client in still_open:
        account = client._settings.account  # noqa: SLF001
        if account.base_url in ours:
            key = Secret(address["MASIVO_API_KEY"])
            account = Account(key, address["MASIVO_BASE_URL"], account.api)
        client._begin_anew(account)  # noqa: SLF001


def open_clients() -> list[ClientBase[Any]]:
    """Return the referenced clients of this process that are neither closed nor destroyed."""
    if "masivo._client" not in sys.modules:
        return []
    from masivo._client import clients

    return [client for client in clients if client._is_open]  # noqa: SLF001


def in_use() -> bool:
    """Return whether a client has sent an event, or joined an event loop, since its reset."""
    from masivo._session import registry

    if any(place is not None for place, _, _ in list(registry)):
        return True
    return any(client.stats().accepted for client in open_clients())


def join_workers() -> None:
    """Wait for the threads of clients that were reset, and for those that they start meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        workers = [thread for thread in threading.enumerate() if thread.name == "masivo"]
        if not workers:
            return
        workers[0].join(left)
