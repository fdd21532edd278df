"""The drivers that the suite is run with: ours, and the reference without its capabilities."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from masivo.testing.conformance.worlds.on_asyncio import AsyncioAdapter
from masivo.testing.conformance.worlds.on_trio import TrioAdapter
from masivo.testing.conformance.worlds.reference import ReferenceAdapter
from masivo.testing.conformance.worlds.threads import ThreadsAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.testing.conformance import Adapter, VirtualClock

WORLDS: Final[dict[str, Callable[[VirtualClock], Adapter]]] = {
    "threads": ThreadsAdapter,
    "asyncio": AsyncioAdapter,
    "trio": TrioAdapter,
}
"""Our three drivers."""

LACKING: Final[dict[str, partial[ReferenceAdapter]]] = {
    "one at a time": partial(ReferenceAdapter, parallel=False),
    "pumped": partial(ReferenceAdapter, background=False),
    "pumped, one at a time": partial(ReferenceAdapter, parallel=False, background=False),
    "without storage": partial(ReferenceAdapter, storage=False),
}
"""Drivers that lack capabilities."""
