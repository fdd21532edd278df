"""A guarantee that nothing leaves the machine, whatever a contender does."""

from __future__ import annotations

import os
import sys
from typing import Any, cast

__all__ = ["stay_on_loopback"]

_LOOPBACK = ("127.", "::1", "localhost")


def stay_on_loopback() -> None:
    """Let every attempt of this process to reach another host raise, and ignore proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo" or event == "socket.gethostbyname":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if not isinstance(address, tuple):  # a local socket, or one that is connected already
            return
        host = cast("tuple[object, ...]", address)[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host and not str(host).startswith(_LOOPBACK):
        raise PermissionError(f"a benchmark must not reach {host}")
