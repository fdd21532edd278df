"""Everything that can go wrong with a request over our own connections, as a ``Failure``."""

from __future__ import annotations

from typing import Final, Literal

from masivo import MasivoConfigError
from masivo.protocol import Failure

from .exchange import BrokenResponseError

__all__ = ["PRIVATE_CA", "Lack", "failure_of", "is_untrusted"]

Lack = Literal["no connection", "no secure connection", "no response"]
"""What a request lacked when it failed. But for the last, nothing of it was sent."""

PRIVATE_CA: Final = (
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
    cure = "; check the network and base_url"
    if isinstance(error, TimeoutError):
        reason = f"{what} within {timeout:g} s (timeout){cure}"
    elif isinstance(error, BrokenResponseError):
        reason = f"the response was broken: {error}"
    elif not isinstance(error, OSError):
        reason = f"the request failed: {type(error).__name__}: {error}"
    elif lack == "no response":
        reason = f"{what}: {error}"
    else:
        reason = f"{what}: {error}{PRIVATE_CA if is_untrusted(error) else cure}"
    return Failure(reason, sent=lack == "no response", status=status, cause=error)


def is_untrusted(error: BaseException) -> bool:
    """Return whether a server's certificate was refused."""
    return type(error).__name__ == "SSLCertVerificationError"  # without importing ssl
