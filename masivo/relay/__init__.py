"""The relay: one door for a fleet.

The way of an event::

    client ──> intake ──> store ──> delivery ──> the API
               (HTTP)     (spool, or Redis)

- ``store``: what the intake and the operations know of a store

The store of a fleet, on Redis:

- ``on_redis``: the store: batches kept, partitions delivered
- ``opening``: checks of a Redis at the start, and what a fleet agrees on
- ``connection``: connections, and errors without passwords
- ``scripts``: the keys, and the scripts that change them
- ``leases``: which partitions this relay delivers, and until when it may
- ``partition``: one partition, as a log
- ``delivery``: the client of one partition, and its sender
- ``letters``: dead letters, for people to look at
"""
