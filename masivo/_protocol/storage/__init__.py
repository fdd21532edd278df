"""Storage: what is stored of an event, and the work on a store that a driver carries out.

- ``store``: the protocol of a store, and its values
- ``work``: work on a store, as a poll puts it out
- ``kept``: an event without a delivery of a caller's

Decided elsewhere: what is stored, noted, read and removed, and when (``batches/spooled``).
``masivo.spool`` implements the store.
"""
