"""HTTP: carries out a ``Request`` of the core; everything that goes wrong becomes a ``Failure``.

Two transports, the same for every world:

- ``transport``: a request over our own connections, from its connection to its response
- ``by_httpx``: a request by the caller's own client, or through a proxy
- ``openers``: chooses between them
- ``proxies``: decides if a proxy applies

The parts of our own connections:

- ``exchange``: request to bytes, bytes to response; no I/O
- ``tls``: certificates
- ``connections``: sockets that do not block, with TLS or without; idle ones

The waits, which differ:

- ``sockets``: in threads
- ``on_asyncio``: in asyncio
- ``on_trio``: in trio

For both transports:

- ``failures``: turns errors into failures
- ``building``: the lock for work that a fork must not interrupt
"""

from __future__ import annotations

from .openers import AsyncHttpClient, HttpClient, opener_of
from .sockets import ThreadSender

__all__ = ["AsyncHttpClient", "HttpClient", "ThreadSender", "opener_of"]
