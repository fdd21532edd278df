"""The relay: one door for a fleet.

The way of an event::

    client ──> intake ──> store ──> delivery ──> the API
               (HTTP)     (spool, or Redis)

- ``store``: what the intake and the operations know of a store
"""
