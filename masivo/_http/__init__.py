"""HTTP: carries out a ``Request`` of the core; everything that goes wrong becomes a ``Failure``.

Our own connections, if no ``http_client`` is given and no proxy applies:

- ``exchange``, ``body``: request to bytes, bytes to response; no I/O
- ``tls``: certificates, and encryption without I/O
- ``connections``: sockets that do not block; idle ones
- ``transport``: a request from its connection to its response or failure, the same for every world
- ``sockets``, ``on_asyncio``, ``on_trio``: name lookups and waits, in each world

Otherwise ``by_httpx``. ``sources`` chooses between them; ``proxies`` decides if a proxy applies.
"""

from __future__ import annotations

from .sockets import thread_sender
from .sources import AsyncHttpClient, HttpClient, Source, source_of

__all__ = ["AsyncHttpClient", "HttpClient", "Source", "source_of", "thread_sender"]
