"""The source of a world's HTTP client: the caller's own, one for a proxy, or none.

``httpx`` and the sender for it are imported only in the first two cases.
"""

from __future__ import annotations

import inspect
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

from masivo import MasivoConfigError

from .building import build_lock
from .proxies import proxy_for

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    import httpx2

    from .proxies import Lookup

    T = TypeVar("T")
    _Makes: TypeAlias = Callable[[], T]

__all__ = ["AsyncHttpClient", "HttpClient", "Kind", "Source", "said_by", "source_of"]

HttpClient: TypeAlias = "httpx.Client | httpx2.Client | _Makes[httpx.Client | httpx2.Client]"
"""The types of ``http_client`` for threads."""
AsyncHttpClient: TypeAlias = (
    "httpx.AsyncClient | httpx2.AsyncClient | _Makes[httpx.AsyncClient | httpx2.AsyncClient]"
)
"""The types of ``http_client`` for an event loop."""

Kind: TypeAlias = Literal["Client", "AsyncClient"]


class Source(NamedTuple):
    """The source of an HTTP client."""

    make: Callable[[], Any]
    """Returns the client, or raises MasivoConfigError if there is no usable one."""
    owned: bool
    """True if it is ours to close."""


def source_of(
    given: object, kind: Kind, base_url: str, *, enabled: bool = True, lookup: Lookup = os.getenv
) -> Source | None:
    """Return the source of the HTTP client; None if our own connections are used.

    Args:
        given: the argument ``http_client``.
        kind: the class that the client must have, in either family.
        base_url: where requests go.
        enabled: False: nothing will be sent.
        lookup: returns the values of environment variables. (Not a mapping, which would hold the
            key and may be shown in a traceback.)

    Raises:
        MasivoConfigError: the argument is neither such a client nor a function; or there is none,
            and a setting of the environment that applies cannot be used.
    """
    if given is None:
        return _proxied(kind, base_url, lookup) if enabled else None
    if _is_client(given, kind):
        return Source(partial(_inherited, given, kind, os.getpid()), owned=False)
    if callable(given) and not inspect.iscoroutinefunction(given):
        return Source(partial(_made, given, kind), owned=True)
    raise MasivoConfigError(
        f"http_client must be an httpx.{kind} (or httpx2.{kind}), or a function of no arguments "
        f"that makes one, not {type(given).__module__}.{type(given).__qualname__}"
    )


def _is_client(given: object, kind: Kind) -> bool:
    modules = (sys.modules.get(name) for name in ("httpx", "httpx2"))
    return any(
        module is not None and isinstance(given, getattr(module, kind)) for module in modules
    )


def _proxied(kind: Kind, base_url: str, lookup: Lookup) -> Source | None:
    with build_lock:
        if base_url.startswith("https:"):
            from .tls import check_certificates  # only a client that needs it pays for it

            check_certificates(lookup)
        proxy = proxy_for(base_url, lookup)
        if proxy is None:
            return None
        import httpx

        from .tls import client_context

        context = client_context()  # here, as it is slow: a loop must not wait for it later

    def through() -> object:
        secure = context if proxy.url.startswith("https:") else None
        # The proxy was chosen by us: httpx must not choose again from the environment.
        return getattr(httpx, kind)(
            proxy=httpx.Proxy(proxy.url, auth=proxy.auth, ssl_context=secure),
            verify=context,
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )

    return Source(through, owned=True)


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


def said_by(error: BaseException) -> str:
    """Return an exception's text, or an empty one if ``str`` fails."""
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001 (exceptions of a caller's transport can be anything)
        return ""
