"""The worlds that the clients live in, behind one face, so that one suite serves them all.

A test that holds for every world takes the fixtures ``world`` and ``connect`` and uses nothing
but what is declared here. A new world needs a class with the members of ``World``, in ``WORLDS``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import masivo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from masivo import FlushResult, MasivoError, SendEventResult, Stats

FAMILIES = "httpx", "httpx2"
"""The HTTP libraries whose clients are accepted."""


class AnyDelivery(Protocol):
    """What became of one event; the waits block, whatever the world."""

    def done(self) -> bool:
        """Whether there is an outcome."""
        ...

    def result(self, timeout: float | None = None) -> SendEventResult:
        """Wait for the result, or raise the error."""
        ...

    def exception(self, timeout: float | None = None) -> MasivoError | None:
        """Wait for the error, None if there is none."""
        ...


class AnyClient(Protocol):
    """A client; the waits block, whatever the world."""

    def send_analytics_event(self, event: Mapping[str, object]) -> AnyDelivery:
        """Take an event."""
        ...

    def flush(self, timeout: float | None = None) -> FlushResult:
        """Send what is buffered and wait for it."""
        ...

    def drain(self, timeout: float | None = None) -> None:
        """Wait for room."""
        ...

    def get_token(self, timeout: float | None = None) -> str:
        """Wait for the token."""
        ...

    def close(self, timeout: float | None = 10.0) -> None:
        """Flush and release."""
        ...

    def destroy(self) -> None:
        """Release at once."""
        ...

    def stats(self) -> Stats:
        """The counters."""
        ...


class World(Protocol):
    """One way to be concurrent."""

    name: str

    def client(self, *args: Any, **settings: Any) -> AnyClient:
        """A client of this world; the arguments are the constructor's."""
        ...

    def http_client(self, family: str, **settings: Any) -> Any:
        """An ``httpx`` or ``httpx2`` client of the kind that belongs to this world."""
        ...

    def wrong_http_client(self, family: str) -> Any:
        """One of the other kind."""
        ...

    def transport(self, family: str, handle: Callable[[Any], Any]) -> Any:
        """A transport of this world's kind, whose requests are answered by ``handle``."""
        ...

    def close_http_client(self, client: Any) -> None:
        """Close what ``http_client`` or ``wrong_http_client`` made."""
        ...


class Threads:
    """Threads: the client's own methods block."""

    name = "threads"

    def client(self, *args: Any, **settings: Any) -> AnyClient:
        """See World."""
        return masivo.Client(*args, **settings)

    def http_client(self, family: str, **settings: Any) -> Any:
        """See World."""
        return importlib.import_module(family).Client(**settings)

    def wrong_http_client(self, family: str) -> Any:
        """See World."""
        return importlib.import_module(family).AsyncClient()

    def transport(self, family: str, handle: Callable[[Any], Any]) -> Any:
        """See World."""
        return importlib.import_module(family).MockTransport(handle)

    def close_http_client(self, client: Any) -> None:
        """See World."""
        if hasattr(client, "close"):
            client.close()


WORLDS: list[World] = [Threads()]
