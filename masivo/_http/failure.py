"""The ``Failure`` for each exception that a call of the HTTP library can raise."""

from __future__ import annotations

import ssl
import zlib
from typing import Final

from masivo import MasivoConfigError
from masivo._protocol.reporting.redaction import chain
from masivo.protocol import Failure

from .response import BadBodyError

__all__ = ["failure_of", "unusable"]

_NOT_SENT: Final = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")


def unusable(error: Exception) -> Failure:
    if not isinstance(error, MasivoConfigError):
        error = MasivoConfigError(
            f"http_client: the function that should make one raised {type(error).__name__}: {error}"
        )
    return Failure(error.message, sent=False, fatal=error)


def failure_of(error: Exception, timeout: float, status: int | None) -> Failure:
    names = {kind.__name__ for kind in type(error).__mro__}
    said = _said(error)
    detail = f": {said}" if said else ""
    if isinstance(error, BadBodyError | zlib.error):
        reason = f"the response cannot be used{detail}"
    elif isinstance(error, TimeoutError) or names & {"TimeoutException", "TooSlowError"}:
        where = "no connection" if names & {"ConnectTimeout", "PoolTimeout"} else "no response"
        where = "no complete response" if status is not None else where
        reason = f"{where} within {timeout:g} s (timeout); check the network and base_url"
    elif _is_tls(error):
        reason = (
            f"no secure connection{detail}. If the server's certificate is signed by a CA of your "
            "own, pass http_client=httpx.Client(verify=<an ssl.SSLContext that knows it>)"
        )
    elif "ConnectError" in names:
        reason = f"no connection{detail}; check the network and base_url"
    elif "ProxyError" in names:
        reason = f"the proxy refused{detail}; check HTTPS_PROXY or http_client"
    elif "RemoteProtocolError" in names or status is not None:
        reason = f"the response was broken{detail}"
    else:
        reason = f"the request failed: {type(error).__name__}{detail}"
    return Failure(
        reason,
        sent=status is not None or not names & {*_NOT_SENT},
        status=status,
        cause=error,
    )


def _is_tls(error: BaseException) -> bool:
    return any(isinstance(each, ssl.SSLError) for each in chain(error))


def _said(error: BaseException) -> str:
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001 (exceptions of a caller's transport can be anything)
        return ""
