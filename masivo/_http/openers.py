"""The choice of a client's transport: the caller's own HTTP client, a proxy, or our connections.

``httpx`` is imported only for a proxy.
"""

from __future__ import annotations

import inspect
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from masivo import MasivoConfigError

from .building import build_lock
from .by_httpx import HttpxTransport
from .failures import said_by
from .proxies import proxy_for
from .transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    import httpx2

    from .proxies import Lookup
    from .transport import World

__all__ = ["AsyncHttpClient", "HttpClient", "Kind", "Opener", "opener_of"]

HttpClient: TypeAlias = "httpx.Client | httpx2.Client | Callable[[], httpx.Client | httpx2.Client]"
"""The types of ``http_client`` for threads."""
AsyncHttpClient: TypeAlias = (
    "httpx.AsyncClient | httpx2.AsyncClient | Callable[[], httpx.AsyncClient | httpx2.AsyncClient]"
)
"""The types of ``http_client`` for an event loop."""

Kind: TypeAlias = Literal["Client", "AsyncClient"]

Opener: TypeAlias = "Callable[[World], HttpxTransport | Transport]"
"""Makes the transport for a world."""


def opener_of(
    given: object, kind: Kind, base_url: str, *, enabled: bool = True, lookup: Lookup = os.getenv
) -> Opener:
    """Return the function that makes a client's transport.

    Args:
        given: the argument ``http_client``.
        kind: the class that the client must have, in either family.
        base_url: where requests go.
        enabled: False if nothing will be sent.
        lookup: returns the values of environment variables. (Not a mapping, which would hold the
            key and may be shown in a traceback.)

    Raises:
        MasivoConfigError: the argument is neither such a client nor a function; or there is none,
            and a setting of the environment that applies cannot be used.
    """
    if given is None:
        make = _through_proxy(kind, base_url, lookup) if enabled else None
        if make is None:
            return partial(Transport, base_url)
    elif _is_client(given, kind):
        make = partial(_inherited, given, kind, os.getpid())
    elif callable(given) and not inspect.iscoroutinefunction(given):
        make = partial(_made, given, kind)
    else:
        raise MasivoConfigError(
            f"http_client must be an httpx.{kind} (or httpx2.{kind}), or a function of no "
            f"arguments that makes one, not {type(given).__module__}.{type(given).__qualname__}"
        )
    owned = not _is_client(given, kind)
    return partial(HttpxTransport, make, owned=owned, is_async=kind == "AsyncClient")


def _is_client(given: object, kind: Kind) -> bool:
    families = filter(None, map(sys.modules.get, ("httpx", "httpx2")))
    return any(isinstance(given, getattr(family, kind)) for family in families)


def _through_proxy(kind: Kind, base_url: str, lookup: Lookup) -> Callable[[], object] | None:
    if base_url.startswith("http:"):
        return None  # a loopback host
    with build_lock:
        from .tls import check_certificates, client_context  # they import ssl

        check_certificates(lookup)
        proxy = proxy_for(base_url, lookup)
        if proxy is None:
            return None
        import httpx

        context = client_context()  # here, as it is slow: a loop must not wait for it later

    secure = context if proxy.url.startswith("https:") else None
    # The proxy was chosen by us: httpx must not choose again from the environment.
    return partial(
        getattr(httpx, kind),
        proxy=httpx.Proxy(proxy.url, auth=proxy.auth, ssl_context=secure),
        verify=context,
        trust_env=False,
        limits=httpx.Limits(max_connections=None),
    )


def _inherited(given: object, kind: Kind, process: int) -> object:
    if process != os.getpid():
        raise MasivoConfigError(
            "this process was forked, and the http_client that it inherited holds its parent's "
            "connections: pass a function that makes one, such as "
            f"http_client=lambda: httpx.{kind}(...)"
        )
    return given


def _made(function: Callable[[], object], kind: Kind) -> object:
    try:
        client = function()
    except Exception as error:
        raise MasivoConfigError(
            "http_client: the function that should make one raised "
            f"{type(error).__name__}: {said_by(error)}"
        ) from error
    if not _is_client(client, kind):
        raise MasivoConfigError(
            f"http_client: the function returned {type(client).__module__}."
            f"{type(client).__qualname__}, not an httpx.{kind} or httpx2.{kind}"
        )
    return client
