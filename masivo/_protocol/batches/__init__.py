"""Batches: when events are sent, in which order, and with which outcome.

- ``outbox``: one client: its waiting events, and when they are sent; the steps of a poll
- ``in_flight``: its batches in flight: they are sent, retried, halved, and end
- ``leaving``: a client whose deliveries may end before their events, which are sent later
- ``aside``: batches that have stepped aside
- ``spooled``: the same, where a store keeps the events
- ``backlog``: the events that are on disk and not in memory, and when they are read
- ``reading``: one log as it is read, and the customers that are skipped
- ``own_log``: the client's own, and the events that wait behind it
- ``adoption``: the logs of others
- ``upkeep``: the care of the store, and the warnings of its state
- ``triggers``: why and when a batch is sent
- ``queues``: the order in which batches take events
- ``in_order``: the same, for one batch in flight, where batches may step aside
- ``batch``: a batch in flight and its parts
- ``rejections``: the suspicion that the API rejects everything
- ``issued_at``: the stamps of events
- ``outcomes``: the outcome of each event
- ``reports``: the activity of a client
- ``flushes``: counts of outcomes, and the flushes that wait for them
- ``gate``: the numbers that callers and polls share

What is stored of an event is in ``storage``. Retries are scheduled in ``sending``; responses are
read in ``wire``.
"""
