"""Event delivery for the Masivo loyalty platform: buffered, batched, retried, accounted for.

Start with ``Client`` (threads), ``AsyncClient`` (asyncio) or ``TrioClient`` (trio). Their help
explains every setting.

Names are resolved when they are first used, so that ``import masivo`` loads no HTTP library, no
event loop and no JSON library.

Where things are:

- ``_protocol``: the core, which does no I/O
- ``protocol``: its public face

The drivers, and what they use:

- ``_sync``: the driver for threads
- ``_async``: the drivers for asyncio and trio
- ``_http``: sends their requests
- ``spool``: keeps a client's events on disk
- ``_client``: the common part of the clients: the constructor, sending, counters
- ``_session``: the common part of the drivers' sessions, each with the engine of one key
- ``_event``: the type of an event
- ``_guesses``: says which name is meant when a program uses one that does not exist
- ``_living``: the objects of one kind that are still referenced
- ``_process``: forks, and the exit of the process
- ``_overdue``: requests that are given up
- ``_helpers``: threads for requests, and for calls of the application's code
- ``_log``: the logger
- ``_guard``: keeps tests off the real API

And around them:

- ``opentelemetry``: a client's metrics and spans
- ``emulator``: a local server that behaves as the API does
- ``relay``: the service for fleets
- ``cli``: the commands of the program ``masivo``
- ``__main__``: the program
- ``testing``: the conformance suite for drivers, and the plugin for pytest
"""

from importlib import import_module

from ._protocol import __version__

# Type checkers know this name wherever it is; ``typing`` is not imported for it, to keep the import
# cheap.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._async.client import AsyncDelivery
    from ._async.on_asyncio import AsyncClient
    from ._async.on_trio import TrioClient
    from ._event import AnalyticsEvent
    from ._protocol.errors import (
        MasivoAuthError,
        MasivoClosedError,
        MasivoConfigError,
        MasivoError,
        MasivoNetworkError,
        MasivoQueueFullError,
        MasivoServerKeyError,
        MasivoValidationError,
    )
    from ._protocol.values import FailedEvent, FlushResult, SendEventResult, Stats
    from ._protocol.wire.api import Api
    from ._sync.client import Client, Delivery

__all__ = [
    # clients
    "AsyncClient",
    "Client",
    "TrioClient",
    # what they take and give
    "AnalyticsEvent",
    "Api",
    "AsyncDelivery",
    "Delivery",
    "FailedEvent",
    "FlushResult",
    "SendEventResult",
    "Stats",
    # errors
    "MasivoAuthError",
    "MasivoClosedError",
    "MasivoConfigError",
    "MasivoError",
    "MasivoNetworkError",
    "MasivoQueueFullError",
    "MasivoServerKeyError",
    "MasivoValidationError",
    "__version__",
]

_HOMES = {
    "AsyncClient": "._async.on_asyncio",
    "AsyncDelivery": "._async.client",
    "TrioClient": "._async.on_trio",
    "Client": "._sync.client",
    "Delivery": "._sync.client",
    "AnalyticsEvent": "._event",
    "Api": "._protocol.wire.api",
    "FailedEvent": "._protocol.values",
    "FlushResult": "._protocol.values",
    "SendEventResult": "._protocol.values",
    "Stats": "._protocol.values",
}


def __getattr__(name: str) -> object:
    if name.startswith("_"):  # ``from masivo import _guard`` looks for an attribute first
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    if name not in __all__:
        from ._guesses import no_name

        raise no_name(__name__, __all__, name)
    home = _HOMES.get(name, "._protocol.errors")
    value: object = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from importlib.util import find_spec

    names = {*globals(), *__all__} - {"TYPE_CHECKING", "import_module"}
    if find_spec("trio") is None:  # ``help`` and a shell's completion look up each of these
        names.discard("TrioClient")
    return sorted(names)
