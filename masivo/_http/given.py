"""The caller's ``http_client``, and the client that is built without one."""

from __future__ import annotations

import inspect
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias, TypeVar, cast
from urllib.request import getproxies

from masivo import MasivoConfigError
from masivo._process import hold_in_forks
from masivo.protocol import is_loopback

from .bare import bare_client

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    import httpx2

    T = TypeVar("T")
    _Makes: TypeAlias = Callable[[], T]

__all__ = [
    "AsyncHttpClient",
    "HttpClient",
    "Transport",
    "build_lock",
    "check_client",
    "import_library",
]

HttpClient: TypeAlias = "httpx.Client | httpx2.Client | _Makes[httpx.Client | httpx2.Client]"
"""The type of ``http_client`` for threads."""
AsyncHttpClient: TypeAlias = (
    "httpx.AsyncClient | httpx2.AsyncClient | _Makes[httpx.AsyncClient | httpx2.AsyncClient]"
)
"""The type of ``http_client`` for an event loop."""

build_lock = threading.RLock()
"""Held while an HTTP client is built, and across a fork: an import or an SSL context cut in two
by a fork would block the child for ever."""
hold_in_forks(build_lock)

_FAMILIES: Final = ("httpx", "httpx2")


def import_library() -> None:
    """Import everything that a request needs, so that no later import coincides with a fork."""
    for name in ("encodings.idna", "httpcore", "httpx"):
        import_module(name)


def check_client(given: object, kind: str) -> None:
    """Check that an ``http_client`` can be used.

    Args:
        given: the argument.
        kind: ``Client`` or ``AsyncClient``.

    Raises:
        MasivoConfigError: it is not None, an httpx or httpx2 client of this kind, or a function
            that may make one.
    """
    if given is None or _is_client(given, kind):
        return
    if callable(given) and not inspect.iscoroutinefunction(given):
        return
    raise MasivoConfigError(
        f"http_client must be an httpx.{kind} (or httpx2.{kind}), or a function of no arguments "
        f"that makes one, not {type(given).__module__}.{type(given).__qualname__}"
    )


def _is_client(given: object, kind: str) -> bool:
    modules = (sys.modules.get(name) for name in _FAMILIES)
    return any(
        module is not None and isinstance(given, getattr(module, kind)) for module in modules
    )


class Transport:
    """One session's HTTP client: the caller's, or one that is built when first needed.

    Args:
        given: the caller's ``http_client``.
        base_url: the API's address; for a loopback host the environment's proxies are ignored.
    """

    KIND: ClassVar[str]

    def __init__(self, given: object, base_url: str) -> None:
        self._given = given
        self._base_url = base_url
        self._client: Any = None
        self._owned = not _is_client(given, self.KIND)
        self._unusable: MasivoConfigError | None = None

    def forked(self) -> Self:
        """Return a copy for a forked child, without the parent's sockets."""
        transport = type(self)(self._given, self._base_url)
        if not self._owned:
            transport._unusable = MasivoConfigError(  # noqa: SLF001 (its own class)
                "this process was forked, and the http_client that it inherited holds its "
                "parent's connections: pass a function that makes one, such as "
                f"http_client=lambda: httpx.{self.KIND}(...)"
            )
        return transport

    def _get(self) -> Any:
        client = self._client  # read once: a close may reset it meanwhile
        if client is None:
            with build_lock:
                client = self._client
                if client is None:
                    client = self._client = self._build()
        return client

    def _build(self) -> Any:
        if self._unusable is not None:
            raise self._unusable
        if self._given is None:
            scheme = self._base_url.partition(":")[0]
            if is_loopback(self._base_url) or not {scheme, "all"} & getproxies().keys():
                return bare_client(self.KIND, secure=scheme == "https")
            import httpx  # imported only by the clients that need it

            # It supports proxies.
            return getattr(httpx, self.KIND)(limits=httpx.Limits(max_connections=None))
        if not self._owned:
            return self._given
        client = cast("Callable[[], object]", self._given)()
        if not _is_client(client, self.KIND):
            raise MasivoConfigError(
                "http_client: the function returned "
                f"{type(client).__module__}.{type(client).__qualname__}, "
                f"not an httpx.{self.KIND} or httpx2.{self.KIND}"
            )
        return client

    def _disown(self) -> Any:
        """Return the client that this object must close, or None, and forget it."""
        client, self._client = self._client, None
        return client if self._owned else None
