"""Clients with a spool in virtual time, over a disk in memory, driven by one seed.

Processes come, send, fork, and are killed between any two operations on the disk or calls of the
core; the power fails, the disk fills up, the API fails in all its ways, for minutes or days.

What happens:

- ``plan.py``: what a seed means: settings, and steps.
- ``world.py``: time, the steps, and the end: everything is delivered, and no log is left.
- ``process.py``: one process: an engine, a client or two with a spool each, and a driver that
  carries out what they ask for.
- ``server.py``: the model of the API, and what is wrong with it.

What must come of it:

- ``history.py``: the events, what became of each, and the rules for that.
- ``ledger.py``: what lies on the disk, by its bytes, and the rules for that.
- ``books.py``: the numbers that a client keeps, which are counted anew after each poll.
- ``process.py`` sees that a step for which nothing asks finds nothing to do.

How it is run:

- ``run.py``: in the frame of the core's simulator (``tests/simulation``). From ``tests``,
  ``python -m spool.simulation SEED --trace`` shows all that happens in one.
- ``defects.py`` breaks the rules of storage, one by one, and shows the seed that finds each.
"""
