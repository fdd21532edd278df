"""Storage: what is stored of an event, and the work on a store that a driver carries out.

- ``store``: a store, as the core and a driver know it
- ``work``: work on a store, as polls ask for it
- ``kept``: an event whose delivery has ended, or that was read from a store

Decided elsewhere: what is stored, noted, read and removed, and when (``batches/spooled``).
``masivo.spool`` implements the store.
"""
