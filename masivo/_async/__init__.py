"""The drivers for event loops: asyncio and trio. For another loop, add a file like these two.

- ``client``: the common part of the clients and their deliveries (``LoopClient``)
- ``session``: the common part of one key's engine in one loop (``LoopSession``)
- ``on_asyncio``, ``on_trio``: the parts that differ between the loops
- ``clock``: the seam for tests in virtual time
"""
