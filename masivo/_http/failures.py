"""The failure of a request: how far the request came, and why it failed.

Errors are recognised by the names of their classes: ``httpx`` and ``httpx2`` each have their own,
and neither these nor ``ssl`` are imported for that.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from masivo import MasivoConfigError
from masivo.protocol import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BrokenResponseError", "Lack", "failure_of", "said_by"]

Lack = Literal["no connection", "no secure connection", "no response"]
"""The step at which a request failed. Before the last, nothing was sent."""

_NOT_SENT: Final = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"}
_CURE: Final = "; check the network and base_url"
_PRIVATE_CA: Final = (
    ". If the server's certificate is signed by a CA of your own, name that CA's certificate (PEM) "
    "in SSL_CERT_FILE, or pass an http_client that knows it"
)


class BrokenResponseError(Exception):
    """Bytes that are not a usable HTTP response."""


def failure_of(error: Exception, lack: Lack, timeout: float, status: int | None) -> Failure:
    """Return a request's failure.

    Args:
        error: the exception.
        lack: the step at which the request failed, unless the error's class says that nothing was
            sent.
        timeout: the request's, in seconds.
        status: the response's, where its headers have arrived.
    """
    if isinstance(error, MasivoConfigError):
        return Failure(error.message, sent=False, fatal=error)
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _NOT_SENT:
        lack = "no connection"
    sent = lack == "no response" or status is not None
    what = lack if status is None else "no complete response"
    said = said_by(error)
    because = f": {said}" if said else ""
    if names & {"TimeoutError", "TimeoutException"}:
        reason = f"{what} within {timeout:g} s (timeout){_CURE}"
    elif "ProxyError" in names:
        reason = f"the proxy refused{because}; check HTTPS_PROXY or http_client"
    elif names & {"BrokenResponseError", "RemoteProtocolError"}:
        reason = f"the response was broken{because}"
    elif not names & {"OSError", "NetworkError"}:
        reason = f"the request failed: {type(error).__name__}{because}"
    elif sent:
        reason = f"{what}{because}"
    else:
        untrusted = any(type(each).__name__ == "SSLCertVerificationError" for each in _chain(error))
        reason = f"{what}{because}{_PRIVATE_CA if untrusted else _CURE}"
    return Failure(reason, sent=sent, status=status, cause=error)


def said_by(error: BaseException) -> str:
    """Return an exception's text, or that of its nearest cause that has one; empty if none has."""
    for each in _chain(error):
        with suppress(Exception):  # those of a caller's transport can be anything
            if said := str(each).strip():
                return said
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes, which may form a cycle."""
    seen: list[BaseException] = []
    while error is not None and not any(error is each for each in seen):
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__
