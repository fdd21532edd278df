"""HTTP: carries out a ``Request`` of the core; everything that goes wrong becomes a ``Failure``.

Our own connections, if no ``http_client`` is given and no proxy applies:

- ``exchange``: request to bytes, bytes to response; no I/O
- ``tls``: certificates
- ``connections``: sockets that do not block, with TLS or without; idle ones
- ``transport``: a request from its connection to its response

Otherwise ``by_httpx``. ``openers`` chooses between them; ``proxies`` decides if a proxy applies.
Both are the same for every world: the waits differ, in ``sockets``, ``on_asyncio`` and ``on_trio``.
``failures`` turns errors into failures.
"""

from __future__ import annotations

from .openers import AsyncHttpClient, HttpClient, opener_of
from .sockets import ThreadSender

__all__ = ["AsyncHttpClient", "HttpClient", "ThreadSender", "opener_of"]
