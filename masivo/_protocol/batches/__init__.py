"""Batches: when events go, in which order, and what becomes of them.

- ``outbox``: one client's waiting events and its batches in flight; the steps of a poll
- ``triggers``: why and when a batch goes
- ``queues``: the order in which batches take events
- ``batch``: a batch in flight and its parts
- ``issued_at``: the stamps of events
- ``flushes``: counts of outcomes, and the flushes that wait for them
- ``gate``: the numbers that callers and polls share

When a request is sent again is decided in ``sending``; what a response means, in ``wire``.
"""
