"""Sending: the common part of all requests of a key.

- ``context``: the engine's time and output; requests, whose results go to their senders' callbacks
- ``attempt``: something that is sent, and perhaps sent again
- ``backoff``: waits before a retry, and holds (``Retry-After``)
- ``timers``: every timer of the core, by name
- ``server_clock``: the server's time

The batches and the token decide what is sent (``batches``, ``token``); the form of requests and
responses is in ``wire``.
"""
