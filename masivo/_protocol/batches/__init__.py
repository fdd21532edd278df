"""Batches: when events go, in which order, and with which outcome.

- ``outbox``: one client's waiting events and its batches in flight; the steps of a poll
- ``triggers``: why and when a batch goes
- ``queues``: the order in which batches take events
- ``batch``: a batch in flight and its parts
- ``rejections``: the suspicion that the API rejects everything
- ``issued_at``: the stamps of events
- ``outcomes``: the outcome of each event
- ``flushes``: counts of outcomes, and the flushes that wait for them
- ``gate``: the numbers that callers and polls share

Events are in memory alone. The spool (planned) belongs here: the outbox will ask for storage in
``Output``, and the driver will store. Retries are scheduled in ``sending``; responses are read in
``wire``.
"""
