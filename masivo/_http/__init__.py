"""The HTTP library: ``httpx`` with its ``httpcore``, or ``httpx2`` with the same interface.

Only this package knows it. A ``Request`` of the core becomes a call, and everything that the call
can raise becomes a ``Failure``.
"""

from __future__ import annotations

from .given import AsyncHttpClient, HttpClient, build_lock, check_client, import_library
from .send import AsyncHttp, Http

__all__ = [
    "AsyncHttp",
    "AsyncHttpClient",
    "Http",
    "HttpClient",
    "build_lock",
    "check_client",
    "import_library",
]
