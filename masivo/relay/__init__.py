"""The relay: takes events from a fleet, keeps them, and delivers them.

The way of an event::

    client ──> server ──> intake ──> store ──> delivery ──> the API
               (HTTP)     (checks)   (spool, or Redis)

The intake:

- ``service``: one relay, from its start to its end
- ``server``: the HTTP server, and bounds for slow clients
- ``intake``: the routes of the API, and what they reply
- ``bodies``: the bodies of requests, in bounded memory
- ``checking``: a body's events, checked
- ``tokens``: the keys that a relay takes, and the tokens that it grants

The stores:

- ``store``: the protocol of a store, for the intake and the operations

For one machine, on a spool:

- ``on_spool``: the store: a client with a spool
- ``remembered``: the batches that were stored, by their keys

For a fleet, on Redis:

- ``on_redis``: the store: batches kept, partitions delivered
- ``opening``: the checks of a Redis at the start, and the settings that a fleet shares
- ``connection``: connections, and errors without passwords
- ``scripts``: the keys, and the scripts that change them
- ``leases``: the partitions that this relay may deliver, and until when
- ``partition``: one partition, as a log
- ``delivery``: the client of one partition, and its sender
- ``letters``: dead letters, for people

For people who operate it:

- ``operations``: the routes for health and metrics
- ``metrics``: the metrics
- ``upstream``: the state of the API, the warnings about it, and its time
"""
