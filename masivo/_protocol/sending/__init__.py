"""Sending: what all requests of a key share, whatever they carry.

- ``context``: the engine's time, what is out, what goes out; a request calls back whoever sent it
- ``attempt``: something that is sent, and perhaps sent again
- ``backoff``: waits before a retry, and holds (``Retry-After``)
- ``timers``: every timer of the core, by name
- ``server_clock``: the server's time

What is sent is decided in ``batches`` and ``token``; what a request and a response look like, in
``wire``.
"""
