"""The I/O-free core: a state machine for one API key, to which clients attach.

It imports nothing that does I/O, waits, or tells the time, and nothing of the package outside
itself; ``tests/protocol/test_purity.py`` holds it to that. :mod:`masivo.protocol` is its public
face and states how a driver calls it.

Where to look, from the outside in:

- what a driver calls: ``engine`` (poll), ``buffer`` (one client's inputs), ``settle``
- what the parts share: ``core`` (sending, answers, outcomes), ``timers``, ``values``
- one client: ``outbox`` (when batches go, what becomes of them), ``queues``, ``flight`` (one batch
  and its halves), ``tally`` (counts, flushes), ``stamps`` (``issued_at``)
- the key: ``authorizer`` (who fetches a token, and when), ``token`` (its life), ``retry`` (waits)
- what callers hold and get: ``delivery``, ``errors``, ``settings``
- texts, in and out: ``events``, ``json``, ``causes`` and ``redaction`` (no secret in an error),
  ``log`` (warnings), ``journal`` (what ``MASIVO_LOG`` tells)
"""

__version__ = "0.1.0"
