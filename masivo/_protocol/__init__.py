"""The I/O-free core: a state machine for one account, to which clients attach.

It imports nothing that does I/O, waits, or reads a clock, and nothing of the package outside
itself. :mod:`masivo.protocol` is its public face and states how a driver calls it.

For a driver to call:

- ``engine``: the state machine: inputs, and ``poll``, which returns its output
- ``buffer``: one client: inputs, and counters
- ``settle``: passes an output to waiters, ``on_error`` and the log
- ``calls``: the calls of ``on_error`` and of the log, in order
- ``clients``: the attached clients, all together

Across the border:

- ``values``: requests, responses, failures, results, counters
- ``output``: the result of one poll
- ``delivery``: deliveries and tickets, and the outcomes that end them
- ``settings``: every setting, its default and its check
- ``advice``: the option that is meant by a name that does not exist
- ``errors``: every error of the package
- ``json``: JSON, read and written

For all of them:

- ``tally``: the rule for data that threads share, and a number that any of them may raise

The rooms behind it; each says in its ``__init__`` what is decided there:

- ``events``: the check and the encoding of one event
- ``batches``: when events are sent, in which order, and with which outcome
- ``storage``: what is stored of an event, and the work on a store
- ``token``: when a token is fetched, renewed and discarded
- ``sending``: requests and retries, time and timers
- ``wire``: everything that the vendor's API looks like
- ``reporting``: activity, warnings, and what must not be shown
"""

__version__ = "0.1.0"
