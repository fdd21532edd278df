"""Everything that can go wrong with a request over our own connections, as a ``Failure``."""

from __future__ import annotations

from typing import Literal

from masivo import MasivoConfigError
from masivo.protocol import Failure

from .exchange import BrokenResponseError

__all__ = ["Lack", "failure_of"]

Lack = Literal["no connection", "no secure connection", "no response"]
"""What a request lacked when it failed. But for the last, nothing of it was sent."""

_PRIVATE_CA = (
    ". If the server's certificate is signed by a CA of your own, name that CA's certificate (PEM) "
    "in SSL_CERT_FILE, or pass an http_client that knows it"
)


def failure_of(error: Exception, lack: Lack, timeout: float, status: int | None) -> Failure:
    """Return a request's failure.

    Args:
        error: what was raised.
        lack: how far the request had come.
        timeout: the request's, in seconds.
        status: the response's, where its headers have arrived.
    """
    what = lack if status is None else "no complete response"
    if isinstance(error, MasivoConfigError):
        return Failure(error.message, sent=False, fatal=error)
    if isinstance(error, TimeoutError):
        reason = f"{what} within {timeout:g} s (timeout); check the network and base_url"
    elif isinstance(error, BrokenResponseError):
        reason = f"the response was broken: {error}"
    elif not isinstance(error, OSError):
        reason = f"the request failed: {type(error).__name__}: {error}"
    elif lack == "no connection":
        reason = f"{what}: {error}; check the network and base_url"
    elif lack == "no secure connection":
        reason = f"{what}: {error}{_PRIVATE_CA if is_untrusted(error) else ''}"
    else:
        reason = f"{what}: {error}"
    return Failure(reason, sent=lack == "no response", status=status, cause=error)


def is_untrusted(error: Exception) -> bool:
    """Return whether a server's certificate was refused."""
    return type(error).__name__ == "SSLCertVerificationError"  # without importing ssl
