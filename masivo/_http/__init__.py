"""HTTP: a ``Request`` of the core carried out, and everything that can go wrong as a ``Failure``.

Connections of our own, where no ``http_client`` is given and no proxy applies:

- ``exchange``, ``body``: request to bytes, bytes to response; no I/O
- ``tls``: certificates, and encryption without I/O
- ``connections``: sockets that do not block; idle ones
- ``transport``: a request from its connection to its response or failure, written once for every
  world
- ``sockets``, ``on_asyncio``, ``on_trio``: looking up names and waiting, in each world

Else ``by_httpx``; ``sources`` decides which, and ``proxies`` whether a proxy applies.
"""

from __future__ import annotations

from .sockets import thread_sender
from .sources import AsyncHttpClient, HttpClient, Source, source_of

__all__ = ["AsyncHttpClient", "HttpClient", "Source", "source_of", "thread_sender"]
