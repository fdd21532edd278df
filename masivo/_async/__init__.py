"""The drivers for event loops: asyncio and trio. For another loop, add a file like these two.

- ``client``: the common part of the clients and their deliveries (``LoopClient``)
- ``session``: the common part of one key's engine in one loop (``LoopSession``)
- ``on_asyncio``: what is asyncio's alone
- ``on_trio``: what is trio's alone
- ``clock``: the seam for tests in virtual time
"""
