"""What knows the HTTP library: ``httpx`` with its ``httpcore``, or ``httpx2`` of the same surface.

It turns a ``Request`` of the core into a call, and everything that the call can raise into a
``Failure``.
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
